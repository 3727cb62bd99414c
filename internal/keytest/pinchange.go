package keytest

import (
	"context"
	"errors"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// testPINChange changes a PIN, removes it and sets another. A backend that
// remembers PINs must forget the old one: the suite gives one wrong PIN, no more.
func (s suite) testPINChange(t *testing.T) {
	given := []byte("first PIN")
	b := s.open(t, func(_ context.Context, r key.AuthRequest, use func([]byte) error) error {
		if !r.Key.Policy.PIN {
			t.Error("asked for the PIN of a key without one")
		}
		return use(given)
	})
	spec := s.spec(key.P256)
	spec.PIN = Lend(given)
	before := create(t, b, spec)
	signs(t, before)
	ref := before.Info().Ref
	change := func(c key.PINChange, want error) {
		t.Helper()
		if err := b.(key.PINChanger).ChangePIN(t.Context(), ref, c); !errors.Is(err, want) {
			t.Fatalf("change: %v, want %v", err, want)
		}
	}
	now := func(pin bool) {
		t.Helper()
		k := Only(t, b)
		if in := k.Info(); in.Policy.PIN != pin || in.ID != before.Info().ID || in.Policy.Uncounted {
			t.Errorf("listed as %+v", in)
		}
		signs(t, k)
	}

	change(key.PINChange{New: Lend([]byte("second PIN"))}, nil)
	given = []byte("second PIN")
	now(true)
	var wrong *key.PINError
	err := b.(key.PINChanger).ChangePIN(t.Context(), ref, key.PINChange{Old: Lend([]byte("first PIN"))})
	if !errors.As(err, &wrong) {
		t.Fatalf("the old PIN: %v; want a PINError", err)
	}
	now(true)
	change(key.PINChange{Old: Lend(given)}, nil)
	now(false)
	change(key.PINChange{}, key.ErrUsage)
	change(key.PINChange{Old: Lend(given), New: Lend(given)}, key.ErrUsage)
	given = []byte("third PIN")
	change(key.PINChange{New: Lend(given)}, nil)
	now(true)
	ref.Name = "another"
	change(key.PINChange{}, key.ErrNotFound)
}

// testGuessablePIN: a key that was made without a PIN gets one only on demand, for
// the device would not count wrong ones.
func (s suite) testGuessablePIN(t *testing.T) {
	b, k := s.start(t)
	ref := k.Info().Ref
	c := key.PINChange{New: Lend([]byte("a PIN"))}
	err := b.(key.PINChanger).ChangePIN(t.Context(), ref, c)
	if !errors.Is(err, key.ErrUsage) || len(hint.Of(err)) == 0 || Only(t, b).Info().Policy.PIN {
		t.Errorf("a PIN that can be guessed: %v, hints %q", err, hint.Of(err))
	}
	c.GuessableUnsafe = true
	if err := b.(key.PINChanger).ChangePIN(t.Context(), ref, c); err != nil {
		t.Fatal(err)
	}
	if p := Only(t, b).Info().Policy; !p.PIN || !p.Uncounted {
		t.Errorf("listed as %+v", p)
	}
}
