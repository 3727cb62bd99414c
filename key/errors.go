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

// KeyError is one key that is there and cannot be read: [Backend.Keys] lists the
// others, and it stands in the way of no other name.
type KeyError struct {
	Ref Ref
	Err error // says which file or slot
}

// Error implements error.
func (e *KeyError) Error() string { return e.Err.Error() }

// Unwrap gives errors.Is the cause.
func (e *KeyError) Unwrap() error { return e.Err }

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
