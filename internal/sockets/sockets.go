package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// ErrInUse is a socket that another process answers on.
var ErrInUse = errors.New("socket is in use")

// umask guards the process's file creation mask.
var umask sync.Mutex

// Listen makes a socket at path with mode 0600, and its folder if needed. A
// socket that is there already is replaced if nobody answers on it; otherwise
// the error wraps [ErrInUse]. Of several processes at once exactly one succeeds.
// Closing the listener removes the socket, unless another has taken its place.
func Listen(path string) (net.Listener, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	if err := xdg.Private(dir); err != nil {
		return nil, fmt.Errorf("folder of the socket: %w", err)
	}
	if err := checkFolder(dir); err != nil {
		return nil, fmt.Errorf("folder of the socket: %w", err)
	}
	unlock, err := lockDir(dir, limits.LockWait)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return bind(path)
}

// ListenNew makes a socket at path with mode 0600 where nothing is yet; the error
// wraps [fs.ErrExist] if something is. The folder must exist. It may be one that
// others use too, such as /tmp, if they cannot rename or remove what is ours in it:
// then nobody can put a socket of his own in the place of this one. Closing the
// listener is as with [Listen].
func ListenNew(path string) (net.Listener, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("folder of the socket: %w", err)
	}
	l, err := bind(path)
	if errors.Is(err, syscall.EADDRINUSE) {
		// bind(2) takes neither a dead socket nor a link to nowhere for a
		// free place.
		return nil, fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	return l, err
}

// checkPath refuses what bind(2) would not take, and what could not be printed for a
// shell.
func checkPath(path string) error {
	if strings.ContainsFunc(path, unicode.IsControl) {
		return fmt.Errorf("socket path %.200q has a control character", path)
	}
	if len(path) > limits.SocketPath {
		return hint.Wrap(fmt.Errorf("socket path %.200q has %d bytes, at most %d", path, len(path), limits.SocketPath),
			"choose a shorter path, or set XDG_RUNTIME_DIR to a short one")
	}
	return nil
}

// bind makes the socket with mode 0600 from its first moment.
func bind(path string) (net.Listener, error) {
	umask.Lock()
	defer umask.Unlock()
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	file, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.SetUnlinkOnClose(false)
	return &listener{UnixListener: l, file: file}, nil
}

// listener removes its socket when it is closed, but not one that another process
// has put there after somebody removed ours.
type listener struct {
	*net.UnixListener
	file   fs.FileInfo
	remove sync.Once
}

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.remove.Do(func() {
		// As long as ours is open no other file has its number.
		path := l.Addr().String()
		if now, err := os.Lstat(path); err == nil && os.SameFile(now, l.file) {
			os.Remove(path) // what stays is stale, and the next agent sees that
		}
	})
	return l.UnixListener.Close()
}

// lockDir keeps two processes from finding the same socket stale: the second
// would remove the first one's new socket. It waits a little for others.
func lockDir(dir string, wait time.Duration) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for start := time.Now(); ; time.Sleep(limits.LockPause) {
		err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { d.Close() }, nil // closing unlocks
		case (err == syscall.EWOULDBLOCK || err == syscall.EINTR) && time.Since(start) < wait:
			continue
		case err == syscall.EWOULDBLOCK:
			err = hint.Wrap(errors.New("another process has locked it"), "an agent hangs at its start; find it with: fuser -v "+dir)
		}
		d.Close()
		return nil, fmt.Errorf("lock folder %s: %w", dir, err)
	}
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return hint.Wrap(fmt.Errorf("%s is there already and is no socket", path), "if it is not needed, remove it and try again")
	}
	conn, err := net.DialTimeout("unix", path, limits.SocketProbe)
	if err == nil {
		conn.Close()
	}
	if err == nil || errors.Is(err, syscall.EAGAIN) { // which it is where too many wait to be served
		return hint.Wrap(fmt.Errorf("%w: %s", ErrInUse, path), "another agent serves it; stop that one, or choose another path")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("see whether an agent serves %s: %w", path, err)
	}
	return os.Remove(path)
}
