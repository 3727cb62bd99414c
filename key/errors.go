package key

import (
	"errors"
	"fmt"
	"time"
)

// The classes of failure. Backends and the agent wrap them; the original error
// of the device stays in the chain.
var (
	ErrNotFound    = errors.New("key not found")
	ErrExists      = errors.New("key exists")
	ErrAmbiguous   = errors.New("more than one key matches")
	ErrUsage       = errors.New("wrong usage")
	ErrNotAllowed  = errors.New("key is not for this")
	ErrDenied      = errors.New("denied")
	ErrLocked      = errors.New("agent is locked")
	ErrUnsupported = errors.New("not supported")
	ErrNoDevice    = errors.New("no device")
	ErrBusy        = errors.New("device is held by another process")
	// ErrForeign is a key that belongs to another device.
	ErrForeign = errors.New("key belongs to another device")
)

// PINError is a wrong PIN. The device counted the try.
type PINError struct {
	TriesLeft int // -1: not known
}

// Error implements error.
func (e *PINError) Error() string {
	if e.TriesLeft < 0 {
		return "wrong PIN"
	}
	return fmt.Sprintf("wrong PIN, %d %s left", e.TriesLeft, plural(e.TriesLeft, "try", "tries"))
}

// LockoutError is a device that refuses PINs because of too many wrong ones.
type LockoutError struct {
	Recovery time.Duration // until one more PIN is accepted; 0: not known
}

// Error implements error.
func (e *LockoutError) Error() string { return "device is locked out" }

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
