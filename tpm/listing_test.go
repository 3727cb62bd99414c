package tpm

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// TestListingSeesEveryChange looks at a folder that has been quiet for long, where
// files are not listed again.
func TestListingSeesEveryChange(t *testing.T) {
	write := func(t *testing.T, path string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(dir, elsewhere string) error{
		"new file":    func(dir, _ string) error { return os.WriteFile(filepath.Join(dir, "n.tpm"), nil, 0o600) },
		"file gone":   func(dir, _ string) error { return os.Remove(filepath.Join(dir, "k.tpm")) },
		"edited":      func(dir, _ string) error { return os.WriteFile(filepath.Join(dir, "k.tpm"), []byte("TEXT"), 0o600) },
		"mode":        func(dir, _ string) error { return os.Chmod(filepath.Join(dir, "k.tpm"), 0o644) },
		"replaced":    func(dir, elsewhere string) error { return os.Rename(elsewhere+"/o", filepath.Join(dir, "k.tpm")) },
		"link's end":  func(_, elsewhere string) error { return os.WriteFile(elsewhere+"/l", []byte("TEXT"), 0o600) },
		"link mended": func(_, elsewhere string) error { return os.WriteFile(elsewhere+"/m", nil, 0o600) },
		"link broken": func(_, elsewhere string) error { return os.Remove(elsewhere + "/l") },
		"folder mode": func(dir, _ string) error { return os.Chmod(dir, 0o755) },
		"folder gone": func(dir, _ string) error { return os.RemoveAll(dir) },
		"other folder": func(dir, elsewhere string) error {
			if err := os.Rename(dir, dir+".old"); err != nil {
				return err
			}
			return os.Rename(elsewhere, dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, elsewhere := filepath.Join(t.TempDir(), "keys"), t.TempDir()
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "k.tpm"))
			write(t, filepath.Join(elsewhere, "o"))
			write(t, filepath.Join(elsewhere, "l"))
			for _, to := range []string{"l", "m"} { // there is no m yet
				if err := os.Symlink(filepath.Join(elsewhere, to), filepath.Join(dir, to+".tpm")); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(20 * time.Millisecond) // ticks of the clock
			l, err := list(dir, time.Now())
			if err != nil || l.settled {
				t.Fatalf("a new folder: %+v, %v", l, err)
			}
			l.settled = true
			if !l.holds(dir) {
				t.Fatal("changed though nobody touched it")
			}
			if err := change(dir, elsewhere); err != nil {
				t.Fatal(err)
			}
			if l.holds(dir) {
				t.Error("the change was not seen")
			}
		})
	}
}

// TestListingSettles: a folder is listed again until its times tell of new files.
func TestListingSettles(t *testing.T) {
	dir := t.TempDir()
	changed := stateOf(dir)
	changed.ctime -= int64(limits.TPMFolderTick)
	changed.mtime -= int64(limits.TPMFolderTick)
	if !changed.settled(time.Now()) || stateOf(dir).settled(time.Now()) {
		t.Error("only times that are old settle a folder")
	}
	for _, of := range []*int64{&changed.ctime, &changed.mtime} {
		*of += int64(time.Hour)
		if changed.settled(time.Now()) {
			t.Error("times in the future settle a folder")
		}
		*of -= int64(time.Hour)
	}
	if stateOf(filepath.Join(dir, "none")).settled(time.Now()) {
		t.Error("a missing folder is settled")
	}
}

// TestListingSettlesWithItsFiles: a folder does not tell of a file that is written in
// place.
func TestListingSettlesWithItsFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "k.json")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(limits.TPMFolderTick + time.Second)
	for want, written := range map[bool]time.Time{true: time.Now(), false: later} {
		if err := os.Chtimes(path, written, written); err != nil {
			t.Fatal(err)
		}
		if l, err := list(dir, later); err != nil || l.settled != want {
			t.Errorf("written at %v, settled at %v: %v, %v", written, later, l.settled, err)
		}
	}
}

// TestUnsettledFolderIsReadAgain: a file that was written twice in one tick of the
// clock may look the same after the second time.
func TestUnsettledFolderIsReadAgain(t *testing.T) {
	f := &folder{dir: t.TempDir()}
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(f.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := sample(t, key.P256).encode()
	if err != nil {
		t.Fatal(err)
	}
	write("k.tpm", data)
	for _, comment := range []string{"one", "two"} {
		write("k.pub", []byte("type blob "+comment+"\n"))
		now, err := list(f.dir, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if f.seen.files != nil {
			f.seen.files = now.files // as a coarse clock would have it
		}
		keys, err := f.list()
		if err != nil || len(keys) != 1 || keys[0].info.Comment != comment {
			t.Errorf("%+v, %v; want the comment %q", keys, err, comment)
		}
	}
}

// TestNamesOfNoKeys: what somebody put into the key folder is told by its whole path,
// and is no wrong usage.
func TestNamesOfNoKeys(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"", "UPPER", "a b", "esc\x1b[31m"} {
		k := readKey(dir, name)
		if !errors.Is(k.err, errNoName) || errors.Is(k.err, key.ErrUsage) || !slices.ContainsFunc(hint.Of(k.err), func(advice string) bool {
			return strings.Contains(advice, dir+"/"+name+".tpm")
		}) {
			t.Errorf("%q: %v, hints %q", name, k.err, hint.Of(k.err))
		}
	}
}
