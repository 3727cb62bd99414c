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

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestWay: all folders and links on the way to a socket count, not the last alone.
func TestWay(t *testing.T) {
	dir := testenv.SocketDir(t)
	folder := func(path string, mode fs.FileMode) {
		t.Helper()
		if err := errors.Join(os.Mkdir(filepath.Join(dir, path), 0o700), os.Chmod(filepath.Join(dir, path), mode)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, path string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	folder("mine", 0o700)
	folder("mine/sub", 0o700)
	folder("sticky", 0o777|fs.ModeSticky)
	folder("sticky/sub", 0o700)
	folder("open", 0o777)
	folder("open/sub", 0o700)
	folder("group", 0o770)
	folder("group/sub", 0o700)
	link("mine", "good")                        // to a folder of ours
	link("../mine", "sticky/good")              // where nobody else can change it
	link("../mine", "open/link")                // in a folder where others can
	link(filepath.Join(dir, "open/sub"), "bad") // to such a folder
	link("open/link", "through")                // over one
	link("open/../mine", "back")
	cases := map[string]string{
		"mine/sub": "", "sticky/sub": "", "good": "", "good/sub": "", "sticky/good/sub": "",
		"open/sub": "/open (mode", "group/sub": "/group (mode", "open/link/sub": "/open (mode",
		"bad": "/open (mode", "through/sub": "/open (mode", "back/sub": "/open (mode",
	}
	if os.Getuid() == 0 {
		folder("foreign", 0o755)
		folder("foreign/sub", 0o700)
		link("mine", "sticky/foreign")
		if err := errors.Join(os.Chown(filepath.Join(dir, "foreign"), 4711, 4711), os.Lchown(filepath.Join(dir, "sticky/foreign"), 4711, 4711)); err != nil {
			t.Fatal(err)
		}
		cases["foreign/sub"] = "/foreign belongs to uid 4711"
		// Linux may refuse to follow such a link before we can look at it.
		if err := checkWay(filepath.Join(dir, "sticky/foreign")); err == nil || !strings.Contains(err.Error(), "sticky/foreign belongs to uid 4711") {
			t.Errorf("a link of another user: %v", err)
		}
	}
	for name, want := range cases {
		path := filepath.Join(dir, name, "new", "s")
		l, err := Listen(path)
		if err == nil {
			err = errors.Join(l.Close(), os.Remove(filepath.Dir(path)))
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || len(hint.Of(err)) == 0) {
			t.Errorf("%s: %v, hints %q; want %q", name, err, hint.Of(err), want)
		}
		f, err := NewFolder(filepath.Join(dir, name))
		if err == nil {
			err = f.Close()
		}
		if (err == nil) != (want == "") {
			t.Errorf("folder in %s: %v; want %q", name, err, want)
		}
	}
}

// TestListenFull: a socket that many wait for is one that somebody serves.
func TestListenFull(t *testing.T) {
	path := filepath.Join(testenv.SocketDir(t), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if conn, err := net.Dial("unix", path); err == nil {
			defer conn.Close()
		}
	}
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
}
