package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
)

func TestOneCommandPerSignature(t *testing.T) {
	const pin = "correct horse"
	for name, c := range map[string]struct {
		alg key.Algorithm
		pin []byte
	}{
		"p256":     {key.P256, nil},
		"rsa2048":  {key.RSA2048, nil},
		"with PIN": {key.P256, []byte(pin)},
	} {
		t.Run(name, func(t *testing.T) {
			chip := tpmtest.Start(t)
			s := create(t, newBackend(t, chip, lend(t, pin)), "k", c.alg, c.pin)
			mustSign(t, s)
			chip.Commands()
			for range 3 {
				mustSign(t, s)
			}
			if got := chip.Commands(); !slices.Equal(got, []tpm2.TPMCC{tpm2.TPMCCSign, tpm2.TPMCCSign, tpm2.TPMCCSign}) {
				t.Errorf("three signatures took %v", got)
			}
		})
	}
}

func TestSecretsNeverCrossTheBus(t *testing.T) {
	pin := []byte("a PIN that is easy to find")
	chip := tpmtest.Start(t)
	chip.ExpectLockout(1)
	given := pin
	b := newBackend(t, chip, func(_ context.Context, _ key.AuthRequest, use func([]byte) error) error { return use(given) })
	s := create(t, b, "k", key.P256, pin)
	mustSign(t, s)
	given = []byte("another that is easy to find")
	if err := sign(t.Context(), s); err == nil {
		t.Fatal("a wrong PIN was taken")
	}
	digest := bytes.Repeat([]byte("digest!!"), 4)
	given = pin
	if _, err := s.SignContext(t.Context(), digest, crypto.SHA256); err != nil {
		t.Fatal(err)
	}
	for _, secret := range [][]byte{pin, []byte("another that is"), digest} {
		if chip.Saw(secret) {
			t.Errorf("%q was seen", secret)
		}
	}
	label := key.SSH.Label()
	if !chip.Saw(label[:]) {
		t.Error("the proxy does not see what is in clear: this test would find nothing")
	}
}

func TestWrongPINIsCountedOnceAndTold(t *testing.T) {
	chip := tpmtest.Start(t)
	chip.ExpectLockout(1)
	var before, after int
	given := []string{"wrong", "right"}
	auth := func(ctx context.Context, r key.AuthRequest, use func([]byte) error) (err error) {
		if before, err = r.TriesLeft(ctx); err != nil {
			return err
		}
		for _, pin := range given {
			err = use([]byte(pin))
			if pinError, ok := errors.AsType[*key.PINError](err); ok {
				after = pinError.TriesLeft
				if !errors.Is(err, tpm2.TPMRCAuthFail) {
					t.Errorf("the TPM's code is not in the chain of %v", err)
				}
			}
		}
		return err
	}
	s := create(t, newBackend(t, chip, auth), "k", key.P256, []byte("right"))
	mustSign(t, s)
	if before != 3 || after != 2 {
		t.Errorf("tries left: %d before, %d after a wrong PIN; want 3 and 2", before, after)
	}
}

func TestLockout(t *testing.T) {
	chip := tpmtest.Start(t)
	chip.ExpectLockout(3)
	given, asks := "wrong", false
	b := newBackend(t, chip, func(ctx context.Context, r key.AuthRequest, use func([]byte) error) error {
		if asks {
			left, err := r.TriesLeft(ctx)
			if err == nil {
				t.Errorf("%d tries left", left)
			}
			return err
		}
		return use([]byte(given))
	})
	s := create(t, b, "k", key.P256, []byte("right"))
	free := create(t, b, "free", key.P256, nil)
	for want := 2; want >= 0; want-- {
		err := sign(t.Context(), s)
		if pinError, ok := errors.AsType[*key.PINError](err); !ok || pinError.TriesLeft != want {
			t.Fatalf("wrong PIN: %v; want %d tries left", err, want)
		}
	}
	given = "right"
	for _, asks = range []bool{false, true} {
		err := sign(t.Context(), s)
		lockout, ok := errors.AsType[*key.LockoutError](err)
		if !ok || lockout.Recovery != 1000*time.Second { // swtpm's interval
			t.Errorf("locked out: %v, %+v", err, lockout)
		}
		if hints := strings.Join(hint.Of(err), "; "); !strings.Contains(hints, "about 17 minutes") {
			t.Errorf("hints: %s", hints)
		}
	}
	mustSign(t, free)
}

func TestPINLimits(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 32)
	for name, c := range map[string]struct {
		pin []byte
		bad bool
	}{
		"32 bytes":        {long, false},
		"33 bytes":        {append(long, 'x'), true},
		"empty":           {[]byte{}, true},
		"zero inside":     {[]byte{1, 2, 0, 3, 4}, false},
		"zero first":      {[]byte{0, 1, 2, 3}, false},
		"zero at the end": {[]byte{1, 2, 3, 0}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, tpmtest.Start(t), lend(t, string(c.pin)+strings.Repeat("-", max(0, 1-len(c.pin)))))
			s, err := b.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256, PIN: keytest.Lend(c.pin)})
			if c.bad {
				if !errors.Is(err, key.ErrUsage) {
					t.Fatalf("got %v, want ErrUsage", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			mustSign(t, s)
		})
	}
}

func TestPINTooLongForTheTPMIsNotCounted(t *testing.T) {
	chip := tpmtest.Start(t)
	s := create(t, newBackend(t, chip, lend(t, strings.Repeat("x", 33))), "k", key.P256, []byte("right"))
	if _, ok := errors.AsType[*key.PINError](sign(t.Context(), s)); !ok {
		t.Error("no PINError")
	}
}

func TestNobodyToAsk(t *testing.T) {
	chip := tpmtest.Start(t)
	for name, auth := range map[string]key.AuthFunc{
		"no AuthFunc":         nil,
		"AuthFunc gives none": func(context.Context, key.AuthRequest, func([]byte) error) error { return nil },
	} {
		b := newBackend(t, chip, auth)
		s := create(t, b, "k", key.P256, []byte("right"))
		if err := sign(t.Context(), s); !errors.Is(err, key.ErrDenied) {
			t.Errorf("%s: %v; want ErrDenied", name, err)
		}
		if err := b.Close(); err != nil { // the next one needs the device's lock
			t.Fatal(err)
		}
	}
	b := newBackend(t, chip, nil)
	none := func(context.Context, func([]byte) error) error { return nil }
	_, err := b.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256, PIN: none})
	if !errors.Is(err, key.ErrDenied) {
		t.Errorf("create: %v; want ErrDenied", err)
	}
}

func TestThePINIsAskedForOutsideTheQueue(t *testing.T) {
	chip := tpmtest.Start(t)
	var free key.Signer
	b := newBackend(t, chip, func(ctx context.Context, _ key.AuthRequest, use func([]byte) error) error {
		if err := sign(ctx, free); err != nil { // would wait for ever
			return err
		}
		return use([]byte("right"))
	})
	free = create(t, b, "free", key.P256, nil)
	mustSign(t, create(t, b, "k", key.P256, []byte("right")))
}

func TestOptionsThatAreRefused(t *testing.T) {
	b := newBackend(t, tpmtest.Start(t), nil)
	ec, rsaKey := create(t, b, "ec", key.P256, nil), create(t, b, "rsa", key.RSA2048, nil)
	for name, c := range map[string]struct {
		s      key.Signer
		digest int
		opts   crypto.SignerOpts
		want   error
	}{
		"nil":            {ec, 32, nil, key.ErrUsage},
		"no hash":        {ec, 32, crypto.Hash(0), key.ErrUsage},
		"SHA-1":          {ec, 20, crypto.SHA1, key.ErrUnsupported},
		"short digest":   {ec, 31, crypto.SHA256, key.ErrUsage},
		"PSS with ECDSA": {ec, 32, &rsa.PSSOptions{Hash: crypto.SHA256}, key.ErrUsage},
		"PSS salt":       {rsaKey, 32, &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: 20}, key.ErrUnsupported},
	} {
		if _, err := c.s.SignContext(t.Context(), make([]byte, c.digest), c.opts); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
}

func TestMoreKeysThanSlots(t *testing.T) {
	chip := tpmtest.Start(t)
	b := newBackend(t, chip, nil)
	var keys []key.Signer
	for _, name := range []string{"a", "b", "c"} {
		keys = append(keys, create(t, b, name, key.P256, nil))
	}
	for range 2 {
		for _, k := range keys {
			mustSign(t, k)
		}
	}
	chip.Commands()
	mustSign(t, keys[2])
	mustSign(t, keys[1]) // the two used last are still loaded
	if got := chip.Commands(); len(got) != 2 {
		t.Errorf("signatures with kept keys took %v", got)
	}
	mustSign(t, keys[0])
	if got := chip.Commands(); tpmtest.Count(got, tpm2.TPMCCContextLoad) != 1 {
		t.Errorf("a signature with an evicted key took %v", got)
	}
}

func TestUnsupportedAlgorithm(t *testing.T) {
	chip := tpmtest.Start(t)
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCTestParms, Kind: tpmtest.Answer, Code: tpm2.TPMRCCurve})
	_, err := newBackend(t, chip, nil).Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P384})
	if !errors.Is(err, key.ErrUnsupported) || !strings.Contains(strings.Join(hint.Of(err), ""), "p256") {
		t.Errorf("%v, hints %q", err, hint.Of(err))
	}
}
