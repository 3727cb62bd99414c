package tpm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

// own takes the lock that makes us the owner of a device, and nobody waits for
// it; disown gives it back. The error wraps [key.ErrBusy] if another process owns
// the device. A device that the kernel shares has no owner: the file is nil.
func (t target) own(dir string) (*os.File, error) {
	if t.managed() {
		return nil, nil
	}
	if err := xdg.Private(dir); err != nil {
		return nil, fmt.Errorf("folder of locks: %w", err)
	}
	sum := sha256.Sum256([]byte(t.String()))
	path := filepath.Join(dir, fmt.Sprintf("tpm-%x.lock", sum[:8]))
	f, err := tryLock(path)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, hint.Wrap(fmt.Errorf("TPM %s: %w", t, key.ErrBusy),
			"a sealsmith-agent has it: use that one, or end it; find it with: fuser -v "+path)
	}
	return f, err
}

// disown removes the lock file, or one would stay for each device ever tried, and
// unlocks. The order keeps it safe: whoever locks the file after us sees that it
// is gone (tryLock).
func disown(f *os.File) error {
	var err error
	if isAt(f, f.Name()) { // else it is somebody else's, or gone
		err = os.Remove(f.Name())
	}
	return errors.Join(err, f.Close())
}

// lockFolder takes the lock of a folder for one change, and waits a little for
// others. Its error wraps [key.ErrBusy] if that is not enough.
func lockFolder(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	for start := time.Now(); ; {
		f, err := tryLock(path)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return f, err
		}
		if time.Since(start) >= wait {
			return nil, hint.Wrap(fmt.Errorf("folder %s is locked by another process: %w", filepath.Dir(path), key.ErrBusy),
				"a sealsmith process hangs; find it with: fuser -v "+path)
		}
		select {
		case <-time.After(limits.LockPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryLock opens a lock file, or makes it, and locks it: EWOULDBLOCK says that
// another process has. Closing the file, or the end of the process, unlocks.
func tryLock(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && isAt(f, path) {
			return f, nil
		}
		f.Close()
		if err != nil && err != syscall.EINTR {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}

// isAt says whether an open file is still the one at its path: its last owner may
// have removed it between our opening and our locking it.
func isAt(f *os.File, path string) bool {
	ours, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(ours, there)
}
