package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReplaceBlock(t *testing.T) {
	const text = "Host *\n"
	ours := blockBegin + text + blockEnd
	for name, c := range map[string]struct{ before, want string }{
		"empty":             {"", ours},
		"appended":          {"a\n", "a\n" + ours},
		"no line end":       {"a", "a\n" + ours},
		"there":             {"a\n" + ours + "b\n", "a\n" + ours + "b\n"},
		"older":             {"a\n" + blockBegin + "x\ny\n" + blockEnd + "b", "a\n" + ours + "b"},
		"no end":            {blockBegin + "a\n", ""},
		"no begin":          {"a\n" + blockEnd, ""},
		"twice":             {ours + ours, ""},
		"end before begin":  {blockEnd + blockBegin, ""},
		"begin in a line":   {"a " + ours, ""},
		"two ends":          {ours + blockEnd, ""},
		"other line ends":   {strings.ReplaceAll(ours, "\n", "\r\n"), ""},
		"begins in a block": {blockBegin + blockBegin + blockEnd, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := replaceBlock([]byte(c.before), text)
			if (err != nil) != (c.want == "") || string(got) != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestWriteBlock(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "dotfiles"), filepath.Join(dir, "config")
	if err := errors.Join(os.WriteFile(target, []byte("before\n"), 0o600), os.Chmod(target, 0o640)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	b := block{File: link, Text: "ours\n"}
	if b.present() {
		t.Error("present before it was written")
	}
	if kept, err := b.write(); err != nil || kept != target+copySuffix || !b.present() {
		t.Fatalf("written: %q, %v, present: %v", kept, err, b.present())
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link was replaced (%v)", err)
	}
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode changed: %v, %v", info.Mode(), err)
	}
	if kept, err := os.ReadFile(target + copySuffix); err != nil || string(kept) != "before\n" {
		t.Errorf("copy: %q, %v", kept, err)
	}
	// A file that is not there yet, in a folder that is not there yet.
	fresh := block{File: filepath.Join(dir, "new", "file"), Text: "ours\n"}
	if kept, err := fresh.write(); err != nil || kept != "" || !fresh.present() {
		t.Errorf("new file: %q, %v", kept, err)
	}
	for name, path := range map[string]string{"folder": dir, "dangling link": filepath.Join(dir, "dangling")} {
		if name == "dangling link" {
			if err := os.Symlink(filepath.Join(dir, "nowhere"), path); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := (block{File: path, Text: "ours\n"}).write(); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

// TestForeignFile: a file that an administrator put there stays theirs.
func TestForeignFile(t *testing.T) {
	path := "/etc/passwd"
	if os.Getuid() == 0 {
		path = filepath.Join(t.TempDir(), "file")
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 1, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := (block{File: path}).read(); err == nil || !strings.Contains(err.Error(), "belongs to uid") {
		t.Errorf("%v", err)
	}
}
