package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestWriteReplacesAndSetsPermissions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"old", "new, longer"} {
		if err := Write(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Fatalf("read back %q, %v; want %q", got, err, text)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v; want 0600", info.Mode(), err)
	}
	wantOnly(t, filepath.Dir(path), "f")
}

func TestWriteNewNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var wins sync.Map
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			switch err := WriteNew(path, []byte{byte('a' + i)}, 0o600); {
			case err == nil:
				wins.Store(byte('a'+i), true)
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	var winners []byte
	wins.Range(func(k, _ any) bool { winners = append(winners, k.(byte)); return true })
	got, err := os.ReadFile(path)
	if err != nil || len(winners) != 1 || len(got) != 1 || got[0] != winners[0] {
		t.Fatalf("winners %q, file %q, %v; want one winner and its byte", winners, got, err)
	}
	wantOnly(t, filepath.Dir(path), "f")
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "folder")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("x"), 0o600); err == nil {
		t.Fatal("a folder was replaced by a file")
	}
	wantOnly(t, dir, "folder")
}

func wantOnly(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Fatalf("folder holds %v, %v; want only %q", entries, err, name)
	}
}

// TestMissingFolder: the error names the file that was wanted, not ours beside it.
func TestMissingFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "f")
	err := Write(path, nil, 0o600)
	var pathErr *fs.PathError
	if !errors.As(err, &pathErr) || pathErr.Path != path || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
