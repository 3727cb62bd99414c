package keytest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/sealsmith/sealsmith/key"
)

// CreatorDeleter is a backend that [TestBackend] can exercise.
type CreatorDeleter interface {
	key.Backend
	key.Creator
	key.Deleter
}

// TestBackend is what every backend must do, whatever its device. open makes a
// fresh empty backend whose keys get their PIN from auth.
func TestBackend(t *testing.T, open func(t *testing.T, auth key.AuthFunc) CreatorDeleter) {
	for _, alg := range key.Algorithms {
		t.Run("signs/"+string(alg), func(t *testing.T) {
			b := open(t, nil)
			s := create(t, b, key.Spec{Name: "k", Usage: key.SSH, Algorithm: alg})
			if got := s.Info(); got.Algorithm != alg || got.Usage != key.SSH || got.Policy.PIN {
				t.Fatalf("info %+v", got)
			}
			signs(t, s)
			if again := only(t, b); again.Info().ID != s.Info().ID {
				t.Fatalf("listed as %s, created as %s", again.Info().ID, s.Info().ID)
			}
		})
	}
	t.Run("lists every usage", func(t *testing.T) { testUsages(t, open(t, nil)) })
	t.Run("name is taken", func(t *testing.T) { testExists(t, open(t, nil)) })
	t.Run("deletes", func(t *testing.T) { testDelete(t, open(t, nil)) })
	t.Run("digest length", func(t *testing.T) { testDigestLength(t, open(t, nil)) })
	t.Run("cancelled", func(t *testing.T) { testCancelled(t, open(t, nil)) })
	t.Run("parallel", func(t *testing.T) { testParallel(t, open(t, nil)) })
	t.Run("PIN", func(t *testing.T) { testPIN(t, open) })
}

func testUsages(t *testing.T, b CreatorDeleter) {
	for _, u := range key.Usages {
		create(t, b, key.Spec{Name: "k-" + string(u), Usage: u, Algorithm: key.P256, Unattended: u.Supervised()})
	}
	seen := map[key.Usage]bool{}
	for s, err := range b.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		in := s.Info()
		seen[in.Usage] = true
		if in.Policy.Unattended != in.Usage.Supervised() || in.Ref.Name != "k-"+string(in.Usage) {
			t.Errorf("listed as %+v", in)
		}
	}
	if len(seen) != len(key.Usages) {
		t.Errorf("usages seen: %v", seen)
	}
}

func testExists(t *testing.T, b CreatorDeleter) {
	spec := key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256}
	first := create(t, b, spec)
	if _, err := b.Create(t.Context(), spec); !errors.Is(err, key.ErrExists) {
		t.Fatalf("second key of the name: %v; want ErrExists", err)
	}
	if only(t, b).Info().ID != first.Info().ID {
		t.Fatal("the first key was replaced")
	}
}

func testDelete(t *testing.T, b CreatorDeleter) {
	s := create(t, b, key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
	if err := b.Delete(t.Context(), s.Info().Ref); err != nil {
		t.Fatal(err)
	}
	for s, err := range b.Keys(t.Context()) {
		t.Fatalf("still listed: %v, %v", s, err)
	}
	if err := b.Delete(t.Context(), s.Info().Ref); !errors.Is(err, key.ErrNotFound) {
		t.Fatalf("second delete: %v; want ErrNotFound", err)
	}
}

func testDigestLength(t *testing.T, b CreatorDeleter) {
	s := create(t, b, key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
	if _, err := s.SignContext(t.Context(), make([]byte, 31), crypto.SHA256); !errors.Is(err, key.ErrUsage) {
		t.Fatalf("31 bytes for SHA-256: %v; want ErrUsage", err)
	}
}

func testCancelled(t *testing.T, b CreatorDeleter) {
	s := create(t, b, key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.SignContext(ctx, make([]byte, 32), crypto.SHA256); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	signs(t, s)
}

func testParallel(t *testing.T, b CreatorDeleter) {
	s := create(t, b, key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			digest := sha256.Sum256(fmt.Appendf(nil, "message %d", i))
			sig, err := s.SignContext(t.Context(), digest[:], crypto.SHA256)
			if err != nil || !verifies(s.Public(), crypto.SHA256, digest[:], sig) {
				t.Errorf("message %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func testPIN(t *testing.T, open func(*testing.T, key.AuthFunc) CreatorDeleter) {
	pin := []byte("correct horse")
	given := pin
	b := open(t, func(_ context.Context, r key.AuthRequest, use func([]byte) error) error {
		if !r.Key.Policy.PIN {
			t.Error("asked for the PIN of a key without one")
		}
		return use(given)
	})
	s := create(t, b, key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256, PIN: Lend(pin)})
	if !s.Info().Policy.PIN {
		t.Fatal("the key does not say that it has a PIN")
	}
	signs(t, s)
	given = []byte("wrong")
	var pinError *key.PINError
	if _, err := s.SignContext(t.Context(), make([]byte, 32), crypto.SHA256); !errors.As(err, &pinError) {
		t.Fatalf("wrong PIN: %v; want a PINError", err)
	}
	given = pin
	signs(t, s)
	if !bytes.Equal(pin, []byte("correct horse")) {
		t.Error("the lent PIN was changed")
	}
}

// Lend makes a [key.LendFunc] that lends a fixed secret.
func Lend(secret []byte) key.LendFunc {
	return func(_ context.Context, use func([]byte) error) error { return use(secret) }
}

func create(t *testing.T, b key.Creator, spec key.Spec) key.Signer {
	t.Helper()
	s, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create %+v: %v", spec, err)
	}
	return s
}

func only(t *testing.T, b key.Backend) key.Signer {
	t.Helper()
	var found []key.Signer
	for s, err := range b.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, s)
	}
	if len(found) != 1 {
		t.Fatalf("%d keys, want one", len(found))
	}
	return found[0]
}

// signs signs with every hash that the key's algorithm allows and checks the
// signatures in software.
func signs(t *testing.T, s key.Signer) {
	t.Helper()
	hashes := []crypto.Hash{s.Info().Algorithm.Hash()}
	var opts []crypto.SignerOpts
	if s.Info().Algorithm.RSA() {
		hashes = []crypto.Hash{crypto.SHA256, crypto.SHA512}
		opts = append(opts, &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	for _, h := range hashes {
		opts = append(opts, h)
	}
	for _, o := range opts {
		h := o.HashFunc().New()
		h.Write([]byte("message"))
		digest := h.Sum(nil)
		sig, err := s.SignContext(t.Context(), digest, o)
		if err != nil {
			t.Fatalf("sign with %v: %v", o, err)
		}
		if !verifies(s.Public(), o, digest, sig) {
			t.Fatalf("signature with %v does not verify", o)
		}
	}
}

func verifies(pub crypto.PublicKey, opts crypto.SignerOpts, digest, sig []byte) bool {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(k, pss.Hash, digest, sig, pss) == nil
		}
		return rsa.VerifyPKCS1v15(k, opts.HashFunc(), digest, sig) == nil
	}
	return false
}
