package tpm

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// explainAuth says that the auth value of a key was wrong; the code stays in the
// chain. Only BAD_AUTH, the answer for keys without dictionary lockout, was not
// counted.
func (c *chip) explainAuth(err error, auth []byte) error {
	counted := errors.Is(err, tpm2.TPMRCAuthFail)
	if !counted && !errors.Is(err, tpm2.TPMRCBadAuth) {
		return err
	}
	if auth == nil {
		return fmt.Errorf("%w: %w", errHiddenPIN, err)
	}
	wrong := &key.PINError{TriesLeft: -1}
	if l, lerr := c.lockout(); counted && lerr == nil {
		if wrong.TriesLeft = l.triesLeft(); wrong.TriesLeft == 0 {
			err = hint.Wrap(err, l.advice())
		}
	}
	return fmt.Errorf("%w: %w", wrong, err)
}

// explain gives an answer of the TPM its class and its advice; the code stays in
// the chain.
func (c *chip) explain(err error) error {
	switch {
	case errors.Is(err, tpm2.TPMRCLockout):
		return c.lockedOut(err)
	case isFull(err):
		return hint.Wrap(err, "another program holds the TPM's slots; with tpm2-tools: tpm2_flushcontext -t -l -s, or restart the software TPM")
	case errors.Is(err, tpm2.TPMRCScheme), errors.Is(err, tpm2.TPMRCHash):
		return fmt.Errorf("%w: %w", err, key.ErrUnsupported)
	case errors.Is(err, tpm2.TPMRCInitialize), errors.Is(err, tpm2.TPMRCReboot):
		return hint.Wrap(err, "the TPM was not started; restart the machine, or the software TPM")
	case errors.Is(err, tpm2.TPMRCFailure):
		return hint.Wrap(err, "the TPM is in failure mode; restart the machine")
	}
	return err
}

func (c *chip) lockedOut(err error) error {
	l, _ := c.lockout() // if it cannot be read, nobody knows until when
	return fmt.Errorf("%w: %w", l.Refusal(), err)
}

// Refusal is the error of a TPM that is Locked.
func (l Lockout) Refusal() error {
	return hint.Wrap(&key.LockoutError{Recovery: l.wait()}, l.advice(), "keys that were made without a PIN go on working")
}

// advice says until when the TPM takes no PIN.
func (l Lockout) advice() string {
	if wait := l.wait(); wait > 0 {
		return "the TPM accepts PINs again in about " + minutes(wait)
	}
	return "the TPM counts wrong PINs of all programs together; wait, or reset it with the lockout password"
}

// minutes prints a time, rounded up.
func minutes(d time.Duration) string {
	if n := (d + time.Minute - 1) / time.Minute; n != 1 {
		return fmt.Sprintf("%d minutes", n)
	}
	return "a minute"
}

// explainLost gives a TPM that went away, or does not answer, its class and its
// advice, unless opening it did.
func explainLost(err error) error {
	var lost *lostError
	if !errors.As(err, &lost) || errors.Is(err, key.ErrNoDevice) || errors.Is(err, key.ErrBusy) {
		return err
	}
	return hint.Wrap(fmt.Errorf("%w: %w", err, key.ErrNoDevice),
		"try again; if the TPM stays silent, restart what serves it: the software TPM, or the machine")
}

// isGone says that a handle or the session is not in the TPM any more: it was
// reset, or somebody unloaded them.
func isGone(err error) bool {
	return errors.Is(err, tpm2.TPMRCReferenceH0) || errors.Is(err, tpm2.TPMRCReferenceS0)
}

// isFull says that the TPM has no slot left.
func isFull(err error) bool {
	return errors.Is(err, tpm2.TPMRCObjectMemory) || errors.Is(err, tpm2.TPMRCSessionMemory)
}
