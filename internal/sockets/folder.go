package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// ownPrefix begins the names of folders of one agent each.
const ownPrefix = "agent-"

// Folder is a new private folder for the sockets of one agent. It is locked for as
// long as the agent lives, so that [Sweep] knows those of agents that were killed.
type Folder struct{ lock *os.File }

// NewFolder makes a folder in parent, the runtime folder or one that exists, in which nobody else may be able to replace it.
func NewFolder(parent string) (*Folder, error) {
	parent, err := filepath.Abs(parent) // we may change folders before we remove it
	if err != nil {
		return nil, err
	}
	unlock, err := lockRuntime() // makes that folder, if there is none
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkFolder(parent); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, ownPrefix) // with mode 0700
	if err != nil {
		return nil, err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock folder %s: %w", dir, err), lock.Close(), os.Remove(dir))
	}
	return &Folder{lock}, nil
}

// Path is where the folder is.
func (f *Folder) Path() string { return f.lock.Name() }

// Close removes the folder, which must be empty by then, if it is still there.
func (f *Folder) Close() error {
	err := os.Remove(f.Path())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, f.lock.Close())
}

// Sweep removes the folders that agents which were killed left in the runtime
// folder.
func Sweep() error {
	unlock, err := lockRuntime()
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := os.ReadDir(xdg.Runtime())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ownPrefix) {
			err = errors.Join(err, sweep(filepath.Join(xdg.Runtime(), entry.Name())))
		}
	}
	return err
}

// sweep removes a folder that no agent has locked, with the sockets in it. Whatever
// else is in it keeps it.
func sweep(dir string) error {
	lock, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its agent has just ended
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock folder %s: %w", dir, err)
	}
	entries, err := lock.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Type() == fs.ModeSocket {
			err = errors.Join(err, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	if gone := os.Remove(dir); !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// lockRuntime keeps a folder that is just being made from being swept away.
func lockRuntime() (unlock func(), err error) {
	dir := xdg.Runtime()
	if err := xdg.Private(dir); err != nil {
		return nil, fmt.Errorf("runtime folder: %w", err)
	}
	return lockDir(dir, limits.LockWait)
}
