package keytest

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// CreatorDeleter is a backend that [TestBackend] can exercise.
type CreatorDeleter interface {
	key.Backend
	key.Creator
	key.Deleter
}

// Options adjust [TestBackend] to a backend.
type Options struct {
	// Usage is that of the keys which sign; empty means [key.SSH].
	Usage key.Usage
	// Lacks are the algorithms that the device cannot make keys of.
	Lacks []key.Algorithm
}

// suite is what the tests of one backend share.
type suite struct {
	usage key.Usage
	lacks []key.Algorithm
	open  func(t *testing.T, auth key.AuthFunc) CreatorDeleter
}

// TestBackend is what every backend must do, whatever its device. open makes a
// fresh empty backend whose keys get their PIN from auth.
func TestBackend(t *testing.T, o Options, open func(t *testing.T, auth key.AuthFunc) CreatorDeleter) {
	s := suite{usage: cmp.Or(o.Usage, key.SSH), lacks: o.Lacks, open: open}
	for _, alg := range key.Algorithms {
		if slices.Contains(o.Lacks, alg) {
			t.Run("lacks/"+string(alg), func(t *testing.T) { s.testLacks(t, alg) })
		} else {
			t.Run("signs/"+string(alg), func(t *testing.T) { s.testSigns(t, alg) })
		}
	}
	t.Run("lists every usage", s.testUsages)
	t.Run("name is taken", s.testExists)
	t.Run("deletes", s.testDelete)
	t.Run("digest length", s.testDigestLength)
	t.Run("cancelled", s.testCancelled)
	t.Run("parallel", s.testParallel)
	t.Run("PIN", s.testPIN)
	t.Run("PIN change", s.testPINChange)
	t.Run("PIN that can be guessed", s.testGuessablePIN)
}

// spec is a key that signs without a person.
func (s suite) spec(alg key.Algorithm) key.Spec {
	return key.Spec{Name: "k", Usage: s.usage, Algorithm: alg, Unattended: s.usage.Supervised()}
}

// start makes a backend with one key.
func (s suite) start(t *testing.T) (CreatorDeleter, key.Signer) {
	t.Helper()
	b := s.open(t, nil)
	return b, create(t, b, s.spec(key.P256))
}

func (s suite) testSigns(t *testing.T, alg key.Algorithm) {
	b := s.open(t, nil)
	k := create(t, b, s.spec(alg))
	if got := k.Info(); got.Algorithm != alg || got.Usage != s.usage || got.Policy.PIN {
		t.Fatalf("info %+v", got)
	}
	signs(t, k)
	if again := Only(t, b); again.Info().ID != k.Info().ID {
		t.Fatalf("listed as %s, created as %s", again.Info().ID, k.Info().ID)
	}
}

// testLacks: what the device cannot make is refused before anything is written,
// and the hint names what it can make.
func (s suite) testLacks(t *testing.T, alg key.Algorithm) {
	b := s.open(t, nil)
	_, err := b.Create(t.Context(), s.spec(alg))
	if !errors.Is(err, key.ErrUnsupported) {
		t.Fatalf("create: %v; want ErrUnsupported", err)
	}
	hints := strings.Fields(strings.Join(hint.Of(err), " "))
	for _, other := range key.Algorithms {
		if slices.Contains(hints, string(other)) == slices.Contains(s.lacks, other) {
			t.Errorf("hints %q are wrong about %s", hints, other)
		}
	}
	for k, err := range b.Keys(t.Context()) {
		t.Errorf("listed: %v, %v", k, err)
	}
}

func (s suite) testUsages(t *testing.T) {
	b := s.open(t, nil)
	for _, u := range key.Usages {
		create(t, b, key.Spec{Name: "k-" + string(u), Usage: u, Algorithm: key.P256, Unattended: u.Supervised()})
	}
	seen := map[key.Usage]bool{}
	for k, err := range b.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		in := k.Info()
		seen[in.Usage] = true
		if in.Policy.Unattended != in.Usage.Supervised() || in.Ref.Name != "k-"+string(in.Usage) {
			t.Errorf("listed as %+v", in)
		}
	}
	if len(seen) != len(key.Usages) {
		t.Errorf("usages seen: %v", seen)
	}
}

func (s suite) testExists(t *testing.T) {
	b, first := s.start(t)
	if _, err := b.Create(t.Context(), s.spec(key.P256)); !errors.Is(err, key.ErrExists) {
		t.Fatalf("second key of the name: %v; want ErrExists", err)
	}
	if Only(t, b).Info().ID != first.Info().ID {
		t.Fatal("the first key was replaced")
	}
}

func (s suite) testDelete(t *testing.T) {
	b, k := s.start(t)
	if err := b.Delete(t.Context(), k.Info().Ref); err != nil {
		t.Fatal(err)
	}
	for k, err := range b.Keys(t.Context()) {
		t.Fatalf("still listed: %v, %v", k, err)
	}
	if err := b.Delete(t.Context(), k.Info().Ref); !errors.Is(err, key.ErrNotFound) {
		t.Fatalf("second delete: %v; want ErrNotFound", err)
	}
}

func (s suite) testDigestLength(t *testing.T) {
	_, k := s.start(t)
	if _, err := k.SignContext(t.Context(), make([]byte, 31), crypto.SHA256); !errors.Is(err, key.ErrUsage) {
		t.Fatalf("31 bytes for SHA-256: %v; want ErrUsage", err)
	}
}

func (s suite) testCancelled(t *testing.T) {
	_, k := s.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.SignContext(ctx, make([]byte, 32), crypto.SHA256); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	signs(t, k)
}

func (s suite) testParallel(t *testing.T) {
	_, k := s.start(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			digest := sha256.Sum256(fmt.Appendf(nil, "message %d", i))
			sig, err := k.SignContext(t.Context(), digest[:], crypto.SHA256)
			if err != nil || !Verifies(k.Public(), crypto.SHA256, digest[:], sig) {
				t.Errorf("message %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func (s suite) testPIN(t *testing.T) {
	pin := []byte("correct horse")
	given := pin
	b := s.open(t, func(_ context.Context, r key.AuthRequest, use func([]byte) error) error {
		if !r.Key.Policy.PIN {
			t.Error("asked for the PIN of a key without one")
		}
		return use(given)
	})
	spec := s.spec(key.P256)
	spec.PIN = Lend(pin)
	spec.Unattended = false // or the agent would remember the PIN
	k := create(t, b, spec)
	if !k.Info().Policy.PIN {
		t.Fatal("the key does not say that it has a PIN")
	}
	signs(t, k)
	given = []byte("wrong")
	var pinError *key.PINError
	if _, err := k.SignContext(t.Context(), make([]byte, 32), crypto.SHA256); !errors.As(err, &pinError) {
		t.Fatalf("wrong PIN: %v; want a PINError", err)
	}
	given = pin
	signs(t, k)
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

// Only returns the one key of a backend.
func Only(t *testing.T, b key.Backend) key.Signer {
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

// signs signs with every hash and scheme that the key's algorithm allows and
// checks the signatures in software.
func signs(t *testing.T, s key.Signer) {
	t.Helper()
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		signsWith(t, s, hash)
		if s.Info().Algorithm.RSA() {
			signsWith(t, s, &rsa.PSSOptions{Hash: hash, SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
	}
}

func signsWith(t *testing.T, s key.Signer, opts crypto.SignerOpts) {
	t.Helper()
	h := opts.HashFunc().New()
	h.Write([]byte("message"))
	digest := h.Sum(nil)
	sig, err := s.SignContext(t.Context(), digest, opts)
	if err != nil {
		t.Fatalf("sign with %+v: %v", opts, err)
	}
	if !Verifies(s.Public(), opts, digest, sig) {
		t.Fatalf("signature with %+v does not verify", opts)
	}
}

// Verifies says whether a signature as [key.Signer] makes it is good. opts are
// those of the signer.
func Verifies(pub crypto.PublicKey, opts crypto.SignerOpts, digest, sig []byte) bool {
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
