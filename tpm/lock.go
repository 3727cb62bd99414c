package tpm

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

// own takes the lock that makes us the owner of a device; nobody waits for it.
// Its error wraps [key.ErrBusy] if another process owns the device. A device
// that the kernel shares has no owner: the file is nil.
func (t target) own(dir string) (*os.File, error) {
	if t.managed() {
		return nil, nil
	}
	if err := xdg.Private(dir); err != nil {
		return nil, fmt.Errorf("folder of locks: %w", err)
	}
	sum := sha256.Sum256([]byte(t.String()))
	f, err := flock(filepath.Join(dir, fmt.Sprintf("tpm-%x.lock", sum[:8])), syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, hint.Wrap(fmt.Errorf("TPM %s: %w", t, key.ErrBusy),
			"a sealsmith-agent has it: use the agent, or stop it")
	}
	return f, err
}

// flock opens a lock file and locks it; closing it, or the end of the process,
// unlocks. The file stays: removing it would let two owners in.
func flock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|how)
		if err == nil {
			return f, nil
		}
		if err != syscall.EINTR {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
	}
}
