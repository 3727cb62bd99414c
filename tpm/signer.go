package tpm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// signer is a key of the folder.
type signer struct {
	backend *Backend
	key     storedKey
}

var _ key.Signer = (*signer)(nil)

// Info implements [key.Signer].
func (s *signer) Info() key.Info { return s.key.info }

// Public implements [crypto.Signer].
func (s *signer) Public() crypto.PublicKey { return s.key.info.Public }

// Sign implements [crypto.Signer].
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.SignContext(context.Background(), digest, opts)
}

// SignContext implements [key.Signer].
func (s *signer) SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.key.unfit != nil {
		return nil, s.key.unfit
	}
	wanted, err := newOrder(s.key.info.Algorithm, digest, opts)
	if err != nil {
		return nil, err
	}
	var answer *tpm2.TPMTSignature
	use := func(pin []byte) error {
		return s.run(ctx, func(c *chip) (err error) {
			answer, err = c.sign(s.key.object, wanted, pin)
			return err
		})
	}
	if s.key.info.Policy.PIN {
		err = s.withPIN(ctx, s.backend.auth, use)
		if err == nil && answer == nil {
			err = fmt.Errorf("no PIN was given: %w", key.ErrDenied)
		}
	} else {
		err = use(nil)
	}
	if err != nil {
		return nil, err
	}
	return s.encode(answer, digest, opts)
}

// encode makes the answer's form, when the TPM is free again.
func (s *signer) encode(answer *tpm2.TPMTSignature, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	size := 0
	if k, isRSA := s.key.info.Public.(*rsa.PublicKey); isRSA {
		size = k.Size()
	}
	signature, err := encodeSignature(answer, size)
	if err != nil {
		return nil, err
	}
	return signature, checkPSS(s.key.info.Public, digest, signature, opts)
}

// withPIN gets the PIN for use from auth. The TPM is free while a person thinks,
// but the key is loaded first: nobody is asked for a PIN that could not be used.
// Nor is a PIN used that may be another key file's.
func (s *signer) withPIN(ctx context.Context, auth key.AuthFunc, use func(pin []byte) error) error {
	if auth == nil {
		return fmt.Errorf("nobody to ask for the PIN: %w", key.ErrDenied)
	}
	err := s.run(ctx, func(c *chip) error {
		return c.explain(c.attempt(true, func() error {
			_, err := c.load(s.key.object)
			return err
		}))
	})
	if err != nil {
		return err
	}
	request := key.AuthRequest{Key: s.key.info, TriesLeft: s.triesLeft}
	return auth(ctx, request, func(pin []byte) error {
		if len(pin) > limits.TPMPIN {
			// The TPM would take it for a wrong one, and count it.
			return &key.PINError{TriesLeft: -1}
		}
		if pin == nil {
			pin = []byte{} // nil would mean a key without a PIN
		}
		if err := s.backend.folder.unchanged(&s.key); err != nil {
			return err
		}
		return use(pin)
	})
}

// triesLeft implements [key.AuthRequest].
func (s *signer) triesLeft(ctx context.Context) (int, error) {
	if err := s.backend.folder.unchanged(&s.key); err != nil || s.key.info.Policy.Uncounted {
		return -1, err
	}
	tries := 0
	err := s.run(ctx, func(c *chip) error {
		return c.attempt(true, func() error {
			l, err := c.lockout()
			if tries = l.triesLeft(); err == nil && tries == 0 {
				err = l.Refusal()
			}
			return err
		})
	})
	return tries, err
}

func (s *signer) run(ctx context.Context, f func(*chip) error) error {
	return s.backend.device.run(ctx, f)
}

// checkPIN refuses PINs that a TPM would not take, or would take for another.
func checkPIN(pin []byte) error {
	switch {
	case len(pin) == 0:
		return fmt.Errorf("empty PIN: %w", key.ErrUsage)
	case len(pin) > limits.TPMPIN:
		return hint.Wrap(fmt.Errorf("PIN of %d bytes: %w", len(pin), key.ErrUsage),
			fmt.Sprintf("a TPM takes PINs of at most %d bytes", limits.TPMPIN))
	case bytes.HasSuffix(pin, []byte{0}):
		return fmt.Errorf("PIN ends in a zero byte, which a TPM ignores: %w", key.ErrUsage)
	}
	return nil
}
