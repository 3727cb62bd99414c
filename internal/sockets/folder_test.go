package sockets

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

func TestListenNew(t *testing.T) {
	dir := testenv.SocketDir(t)
	shared := filepath.Join(dir, "shared") // as /tmp is
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	for _, path := range []string{filepath.Join(dir, "s"), filepath.Join(shared, "s")} {
		l, err := ListenNew(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("closed socket is still there: %v", err)
		}
	}
}

func TestListenNewRefuses(t *testing.T) {
	dir := testenv.SocketDir(t)
	mode := func(name string, mode fs.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(path, "s")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), link); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dir, "stale")
	leaveStale(t, stale)
	for _, c := range []struct{ path, want string }{
		{file, "exists"},
		{link, "exists"},
		{stale, "exists"},
		{mode("all", 0o777), "other users can replace"},
		{mode("group", 0o770), "other users can replace"},
		{filepath.Join(dir, "a\nb"), "control character"},
		{filepath.Join(file, "s"), "not a folder"},
		{filepath.Join(dir, "missing", "s"), "no such file"},
		{filepath.Join(dir, strings.Repeat("x", 108-len(dir)-1)), "has 108 bytes, at most 107"},
	} {
		_, err := ListenNew(c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, fs.ErrExist) != (c.want == "exists") {
			t.Errorf("%s: %v; want %q", c.path, err, c.want)
		}
	}
	for _, path := range []string{file, link, stale} {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("what was in the way: %v", err)
		}
	}
	if os.Getuid() == 0 {
		foreign := mode("foreign", 0o755)
		if err := os.Chown(filepath.Dir(foreign), 4711, 4711); err != nil {
			t.Fatal(err)
		}
		if _, err := ListenNew(foreign); err == nil || !strings.Contains(err.Error(), "belongs to uid 4711") {
			t.Errorf("the folder of another user: %v", err)
		}
	}
}

func TestFolder(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", testenv.SocketDir(t))
	if err := Sweep(); err != nil { // makes the runtime folder
		t.Fatal(err)
	}
	listen := func(dir string) net.Listener {
		l, err := ListenNew(filepath.Join(dir, "s"))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	folder := func() *Folder {
		f, err := NewFolder(xdg.Runtime())
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	alive, killed, full := folder(), folder(), folder()
	l := listen(alive.Path())
	leaveStale(t, filepath.Join(killed.Path(), "s"))
	killed.lock.Close() // as the kernel does it
	if err := os.WriteFile(filepath.Join(full.Path(), "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	full.lock.Close()
	other := filepath.Join(xdg.Runtime(), "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(); err == nil || !strings.Contains(err.Error(), full.Path()) {
		t.Errorf("a folder with a file: %v", err)
	}
	for dir, want := range map[string]bool{alive.Path(): true, killed.Path(): false, full.Path(): true, other: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v", dir, err)
		}
	}
	gone := folder()
	if err := errors.Join(os.Remove(gone.Path()), gone.Close()); err != nil {
		t.Errorf("a folder that somebody removed: %v", err)
	}
	if err := errors.Join(l.Close(), alive.Close()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(alive.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("closed folder is still there: %v", err)
	}
	if _, err := NewFolder(filepath.Join(xdg.Runtime(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no parent: %v", err)
	}
	if err := os.Chmod(other, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFolder(other); err == nil || !strings.Contains(err.Error(), "other users can replace") {
		t.Errorf("a parent that is open to others: %v", err)
	}
}
