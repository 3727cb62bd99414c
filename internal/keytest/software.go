package keytest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/key"
)

// Software is a [key.Signer] in memory. Its PIN, if any, is asked for like a
// device's: three wrong ones and it is locked out.
type Software struct {
	info   key.Info
	signer crypto.Signer
	auth   key.AuthFunc
	pin    []byte

	mu    sync.Mutex
	wrong int
}

var _ key.Signer = (*Software)(nil)

// maxWrong is how many wrong PINs lock the fake out.
const maxWrong = 3

// Generate makes a software key from a spec.
func Generate(ctx context.Context, s key.Spec, auth key.AuthFunc) (*Software, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	k := &Software{auth: auth}
	var err error
	switch s.Algorithm {
	case key.P256:
		k.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case key.P384:
		k.signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case key.P521:
		k.signer, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case key.RSA2048:
		k.signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case key.RSA3072:
		k.signer, err = rsa.GenerateKey(rand.Reader, 3072)
	default:
		k.signer, err = rsa.GenerateKey(rand.Reader, 4096)
	}
	if err != nil {
		return nil, err
	}
	if s.PIN != nil {
		err := s.PIN(ctx, func(secret []byte) error { k.pin = bytes.Clone(secret); return nil })
		if err != nil {
			return nil, err
		}
	}
	id, err := key.NewID(k.signer.Public())
	if err != nil {
		return nil, err
	}
	k.info = key.Info{
		ID:  id,
		Ref: key.Ref{Backend: "tpm", Name: s.Name}, Algorithm: s.Algorithm, Usage: s.Usage,
		Policy:  key.Policy{PIN: k.pin != nil, Uncounted: k.pin == nil, Unattended: s.Unattended},
		Comment: s.Comment, Created: time.Now().UTC(), Public: k.signer.Public(),
	}
	if s.Comment == "" {
		k.info.Comment = s.Name
	}
	return k, nil
}

// Info implements [key.Signer].
func (k *Software) Info() key.Info { return k.info }

// Public implements [crypto.Signer].
func (k *Software) Public() crypto.PublicKey { return k.info.Public }

// Sign implements [crypto.Signer].
func (k *Software) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), digest, opts)
}

// SignContext implements [key.Signer].
func (k *Software) SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if opts.HashFunc().Size() != len(digest) {
		return nil, fmt.Errorf("digest of %d bytes for %v: %w", len(digest), opts.HashFunc(), key.ErrUsage)
	}
	if k.pin == nil {
		return k.signer.Sign(rand.Reader, digest, opts)
	}
	if k.auth == nil {
		return nil, fmt.Errorf("nobody to ask for the PIN: %w", key.ErrDenied)
	}
	var signature []byte
	request := key.AuthRequest{Key: k.info, TriesLeft: k.triesLeft}
	err := k.auth(ctx, request, func(secret []byte) (err error) {
		if err := k.check(secret); err != nil {
			return err
		}
		signature, err = k.signer.Sign(rand.Reader, digest, opts)
		return err
	})
	return signature, err
}

func (k *Software) triesLeft(context.Context) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maxWrong - k.wrong, nil
}

func (k *Software) check(secret []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wrong >= maxWrong {
		return &key.LockoutError{Recovery: time.Minute}
	}
	if !bytes.Equal(secret, k.pin) {
		k.wrong++
		return &key.PINError{TriesLeft: maxWrong - k.wrong}
	}
	return nil
}

// Backend is a [key.Backend] of software keys that can create, delete and change
// PINs.
type Backend struct {
	// Auth lends the keys' PINs. Set it before the first key is made.
	Auth key.AuthFunc
	// Broken, when set, is the error of every listing.
	Broken error

	mu   sync.Mutex
	keys []*Software
}

var (
	_ key.Backend    = (*Backend)(nil)
	_ key.Creator    = (*Backend)(nil)
	_ key.Deleter    = (*Backend)(nil)
	_ key.PINChanger = (*Backend)(nil)
)

// Name implements [key.Backend].
func (b *Backend) Name() string { return "tpm" }

// Close implements [key.Backend].
func (b *Backend) Close() error { return nil }

// Keys implements [key.Backend].
func (b *Backend) Keys(context.Context) iter.Seq2[key.Signer, error] {
	b.mu.Lock()
	keys := slices.Clone(b.keys)
	b.mu.Unlock()
	return func(yield func(key.Signer, error) bool) {
		if b.Broken != nil && !yield(nil, b.Broken) {
			return
		}
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}

// Create implements [key.Creator].
func (b *Backend) Create(ctx context.Context, s key.Spec) (key.Signer, error) {
	k, err := Generate(ctx, s, b.Auth)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.index(s.Name) >= 0 {
		return nil, fmt.Errorf("key %q: %w", s.Name, key.ErrExists)
	}
	b.keys = append(b.keys, k)
	return k, nil
}

// Delete implements [key.Deleter].
func (b *Backend) Delete(_ context.Context, r key.Ref) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := b.index(r.Name)
	if i < 0 {
		return fmt.Errorf("key %q: %w", r, key.ErrNotFound)
	}
	b.keys = slices.Delete(b.keys, i, i+1)
	return nil
}

// ChangePIN implements [key.PINChanger]. Signers that were listed before keep the
// old PIN.
func (b *Backend) ChangePIN(ctx context.Context, r key.Ref, c key.PINChange) error {
	b.mu.Lock()
	i := b.index(r.Name)
	if i < 0 {
		b.mu.Unlock()
		return fmt.Errorf("key %q: %w", r, key.ErrNotFound)
	}
	k := b.keys[i]
	b.mu.Unlock()
	if err := c.Validate(k.info); err != nil {
		return err
	}
	changed := &Software{info: k.info, signer: k.signer, auth: k.auth}
	set := func() error {
		if c.New == nil {
			return nil
		}
		return c.New(ctx, func(pin []byte) error { changed.pin = bytes.Clone(pin); return nil })
	}
	if err := k.withOld(ctx, c.Old, set); err != nil {
		return err
	}
	changed.info.Policy.PIN = changed.pin != nil
	b.mu.Lock()
	defer b.mu.Unlock()
	if i = b.index(r.Name); i < 0 {
		return fmt.Errorf("key %q: %w", r, key.ErrNotFound)
	}
	b.keys[i] = changed
	return nil
}

// withOld runs f once the PIN that the key has was given, if it has one.
func (k *Software) withOld(ctx context.Context, old key.LendFunc, f func() error) error {
	use := func(pin []byte) error {
		if err := k.check(pin); err != nil {
			return err
		}
		return f()
	}
	switch {
	case k.pin == nil:
		return f()
	case old != nil:
		return old(ctx, use)
	}
	return k.auth(ctx, key.AuthRequest{Key: k.info, TriesLeft: k.triesLeft}, use)
}

func (b *Backend) index(name string) int {
	return slices.IndexFunc(b.keys, func(k *Software) bool { return k.info.Ref.Name == name })
}
