package xdg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRuntime(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/4711")
	if got := Runtime(); got != "/run/user/4711/sealsmith" {
		t.Errorf("with XDG_RUNTIME_DIR: %s", got)
	}
	for _, value := range []string{"", "relative"} {
		t.Setenv("XDG_RUNTIME_DIR", value)
		if got := Runtime(); !filepath.IsAbs(got) || strings.HasPrefix(got, os.TempDir()) {
			t.Errorf("with XDG_RUNTIME_DIR=%q: %s", value, got)
		}
	}
}

func TestPrivate(t *testing.T) {
	base := t.TempDir()
	fresh := filepath.Join(base, "a", "b")
	if err := Private(fresh); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(fresh); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	open := filepath.Join(base, "open")
	file := filepath.Join(base, "file")
	link := filepath.Join(base, "link")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(fresh, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{open, file, link} {
		if err := Private(path); err == nil {
			t.Errorf("%s was accepted", path)
		}
	}
}

func TestOwnFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := OwnFile(path); !os.IsNotExist(err) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o644: true, 0o660: false, 0o602: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := OwnFile(path); (err == nil) != ok {
			t.Errorf("mode %#o: %v", mode, err)
		}
	}
	if err := OwnFile(filepath.Dir(path)); err == nil {
		t.Error("a folder was accepted")
	}
}
