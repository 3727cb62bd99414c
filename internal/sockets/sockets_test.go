package sockets

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

func TestListen(t *testing.T) {
	path := filepath.Join(testenv.SocketDir(t), "new", "s")
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if now := syscall.Umask(0); now != 0 {
		t.Errorf("umask was left at %#o", now)
	}
	_, err = Listen(path)
	if !errors.Is(err, ErrInUse) || len(hint.Of(err)) == 0 {
		t.Errorf("second agent: %v, hints %q", err, hint.Of(err))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("closed socket is still there: %v", err)
	}
}

// TestCloseLeavesSuccessor removes a socket that is in use; another process then has
// one at its path.
func TestCloseLeavesSuccessor(t *testing.T) {
	path := filepath.Join(testenv.SocketDir(t), "s")
	first, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		first.Close()
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("the second socket is gone: %v", err)
		}
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("closed socket is still there: %v", err)
	}
}

func TestListenReplacesStale(t *testing.T) {
	path := filepath.Join(testenv.SocketDir(t), "s")
	leaveStale(t, path)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("nobody answers: %v", err)
	} else {
		conn.Close()
	}
}

// leaveStale leaves what a killed agent leaves.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func TestListenOneOfMany(t *testing.T) {
	path := filepath.Join(testenv.SocketDir(t), "s")
	leaveStale(t, path)
	var mu sync.Mutex
	var won []net.Listener
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			l, err := Listen(path)
			switch {
			case err == nil:
				mu.Lock()
				won = append(won, l)
				mu.Unlock()
			case !errors.Is(err, ErrInUse):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d listeners on one path", len(won))
	}
	for _, l := range won {
		l.Close()
	}
}

func TestLockedFolder(t *testing.T) {
	dir := testenv.SocketDir(t)
	unlock, err := lockDir(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockDir(dir, 20*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), dir) || len(hint.Of(err)) == 0 {
		t.Errorf("a folder that another has locked: %v, hints %q", err, hint.Of(err))
	}
	time.AfterFunc(20*time.Millisecond, unlock)
	again, err := lockDir(dir, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestListenRefuses(t *testing.T) {
	dir := testenv.SocketDir(t)
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, want string }{
		{filepath.Join(open, "s"), "open to other users"},
		{filepath.Join(link, "s"), "not a folder"},
		{file, "no socket"},
		{filepath.Join(dir, strings.Repeat("x", 108-len(dir)-1)), "has 108 bytes, at most 107"},
	} {
		if _, err := Listen(c.path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.path, err, c.want)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "precious" {
		t.Errorf("the file is now %q, %v", data, err)
	}
}

func TestPair(t *testing.T) {
	conn, file, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := conn.Write([]byte("there")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(file, buf); err != nil || string(buf) != "there" {
		t.Errorf("%q, %v", buf, err)
	}
	if _, err := file.Write([]byte("back!")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "back!" {
		t.Errorf("%q, %v", buf, err)
	}
	for name, c := range map[string]syscall.Conn{"connection": conn.(*net.UnixConn), "file": file} {
		raw, err := c.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var flags int
		err = raw.Control(func(fd uintptr) { flags, err = unix.FcntlInt(fd, unix.F_GETFD, 0) })
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("a child inherits the %s: flags %#x, %v", name, flags, err)
		}
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Read(buf); err != io.EOF {
		t.Errorf("after the other end is closed: %v", err)
	}
}
