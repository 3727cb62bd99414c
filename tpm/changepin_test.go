package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// changePIN changes the PIN of the key "k"; a nil PIN is none.
func changePIN(ctx context.Context, b *tpm.Backend, old, pin []byte) error {
	var c key.PINChange
	if old != nil {
		c.Old = keytest.Lend(old)
	}
	if pin != nil {
		c.New = keytest.Lend(pin)
	}
	return b.ChangePIN(ctx, key.Ref{Name: "k"}, c)
}

func mustChange(t *testing.T, b *tpm.Backend, old, pin []byte) {
	t.Helper()
	if err := changePIN(t.Context(), b, old, pin); err != nil {
		t.Fatalf("change PIN: %v", err)
	}
}

// pinWorld is a key "k" with the PIN "old PIN"; the backend is lent whatever given
// says.
type pinWorld struct {
	chip    *tpmtest.TPM
	dir     string
	backend *tpm.Backend
	given   []byte
}

func newPINWorld(t *testing.T) *pinWorld {
	t.Helper()
	w := &pinWorld{chip: tpmtest.Start(t), dir: filepath.Join(t.TempDir(), "keys"), given: []byte("old PIN")}
	w.backend = backendOver(t, w.chip.Open(), w.dir, w.auth)
	create(t, w.backend, "k", key.P256, w.given)
	return w
}

func (w *pinWorld) auth(_ context.Context, _ key.AuthRequest, use func([]byte) error) error {
	return use(w.given)
}

// works fails the test unless the key signs with the PIN.
func (w *pinWorld) works(t *testing.T, pin string) {
	t.Helper()
	w.given = []byte(pin)
	mustSign(t, keytest.Only(t, w.backend))
}

func (w *pinWorld) file(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, "k.tpm"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestChangedPINsNeverCrossTheBus(t *testing.T) {
	w := newPINWorld(t)
	w.works(t, "old PIN")
	mustChange(t, w.backend, nil, []byte("new PIN"))
	w.works(t, "new PIN")
	mustChange(t, w.backend, []byte("new PIN"), nil)
	w.works(t, "")
	mustChange(t, w.backend, nil, []byte("last PIN"))
	w.works(t, "last PIN")
	for _, pin := range []string{"old PIN", "new PIN", "last PIN"} {
		if w.chip.Saw([]byte(pin)) {
			t.Errorf("%q was seen", pin)
		}
	}
}

// TestPINsThatATPMTakes: with zeros inside, and of every length that fits.
func TestPINsThatATPMTakes(t *testing.T) {
	w := newPINWorld(t)
	now := []byte("old PIN")
	for _, pin := range [][]byte{{1, 2, 0, 3, 4}, {0, 1}, bytes.Repeat([]byte("x"), 32), {9}} {
		mustChange(t, w.backend, now, pin)
		w.works(t, string(pin))
		now = pin
	}
	commands := w.chip.Commands
	commands()
	for name, pin := range map[string][]byte{"empty": {}, "33 bytes": bytes.Repeat([]byte("x"), 33), "trailing zero": {1, 0}} {
		err := changePIN(t.Context(), w.backend, now, pin)
		if !errors.Is(err, key.ErrUsage) || tpmtest.Count(commands(), tpm2.TPMCCObjectChangeAuth) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := changePIN(t.Context(), w.backend, bytes.Repeat([]byte("x"), 33), now)
	if wrong, ok := errors.AsType[*key.PINError](err); !ok || wrong.TriesLeft != -1 || tpmtest.Count(commands(), tpm2.TPMCCObjectChangeAuth) != 0 {
		t.Errorf("an old PIN of 33 bytes: %v", err)
	}
	w.works(t, string(now))
}

// TestWrongOldPIN is counted once, told, and nobody is asked for a new one.
func TestWrongOldPIN(t *testing.T) {
	w := newPINWorld(t)
	w.chip.ExpectLockout(3)
	w.works(t, "old PIN") // the TPM asks for patience at the first use of such a key
	before := w.file(t)
	asked := false
	change := key.PINChange{
		Old: keytest.Lend([]byte("wrong PIN")),
		New: func(context.Context, func([]byte) error) error { asked = true; return nil },
	}
	for left := 2; left >= 0; left-- {
		w.chip.Commands()
		err := w.backend.ChangePIN(t.Context(), key.Ref{Name: "k"}, change)
		wrong, ok := errors.AsType[*key.PINError](err)
		if !ok || wrong.TriesLeft != left || !strings.Contains(err.Error(), `"k"`) {
			t.Errorf("%v; want %d tries left", err, left)
		}
		if n := tpmtest.Count(w.chip.Commands(), tpm2.TPMCCObjectChangeAuth); n != 1 {
			t.Errorf("the PIN was sent %d times", n)
		}
	}
	err := changePIN(t.Context(), w.backend, []byte("old PIN"), []byte("new PIN"))
	if locked, ok := errors.AsType[*key.LockoutError](err); !ok || locked.Recovery == 0 || len(hint.Of(err)) == 0 {
		t.Errorf("locked out: %v, hints %q", err, hint.Of(err))
	}
	if asked || !bytes.Equal(w.file(t), before) {
		t.Errorf("asked for a new PIN: %t, or the file was changed", asked)
	}
}

// TestKeyFromBeforeTheChange: a PIN is never tried on the key's other state.
func TestKeyFromBeforeTheChange(t *testing.T) {
	w := newPINWorld(t)
	before := keytest.Only(t, w.backend)
	mustSign(t, before)
	mustChange(t, w.backend, nil, []byte("new PIN"))
	for _, pin := range []string{"old PIN", "new PIN"} {
		w.given = []byte(pin)
		if err := sign(t.Context(), before); err == nil || !strings.Contains(err.Error(), "changed meanwhile") || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v, hints %q", pin, err, hint.Of(err))
		}
	}
	w.works(t, "new PIN")
}

// TestChangedByAnotherProcess: the key in our slot has its old PIN, the file a new
// one.
func TestChangedByAnotherProcess(t *testing.T) {
	w := newPINWorld(t)
	w.works(t, "old PIN")
	before := w.file(t)
	mustChange(t, w.backend, nil, []byte("new PIN"))
	w.works(t, "new PIN")
	write(t, filepath.Join(w.dir, "k.tpm"), before)
	w.works(t, "old PIN")
}

// TestTwoChanges: of two at once, one holds, and the other says so.
func TestTwoChanges(t *testing.T) {
	w := newPINWorld(t)
	late := key.PINChange{Old: keytest.Lend([]byte("old PIN")), New: func(_ context.Context, use func([]byte) error) error {
		mustChange(t, w.backend, nil, []byte("new PIN"))
		return use([]byte("late PIN"))
	}}
	err := w.backend.ChangePIN(t.Context(), key.Ref{Name: "k"}, late)
	if err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("the late change: %v", err)
	}
	w.works(t, "new PIN")
	gone := key.PINChange{Old: keytest.Lend([]byte("new PIN")), New: func(_ context.Context, use func([]byte) error) error {
		if err := w.backend.Delete(t.Context(), key.Ref{Name: "k"}); err != nil {
			t.Error(err)
		}
		return use([]byte("late PIN"))
	}}
	if err := w.backend.ChangePIN(t.Context(), key.Ref{Name: "k"}, gone); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

// TestPINNobodyGave: a LendFunc that lends nothing changes nothing.
func TestPINNobodyGave(t *testing.T) {
	w := newPINWorld(t)
	before := w.file(t)
	none := func(context.Context, func([]byte) error) error { return nil }
	old := keytest.Lend([]byte("old PIN"))
	for name, c := range map[string]key.PINChange{"old": {Old: none, New: old}, "new": {Old: old, New: none}} {
		if err := w.backend.ChangePIN(t.Context(), key.Ref{Name: "k"}, c); !errors.Is(err, key.ErrDenied) {
			t.Errorf("no %s PIN: %v", name, err)
		}
	}
	if !bytes.Equal(w.file(t), before) {
		t.Error("the file was changed")
	}
}

// TestGuessablePIN: wrong ones count nothing, and uses go on during a lockout.
func TestGuessablePIN(t *testing.T) {
	chip := tpmtest.Start(t)
	given := "a PIN"
	b := newBackend(t, chip, func(ctx context.Context, r key.AuthRequest, use func([]byte) error) error {
		if left, err := r.TriesLeft(ctx); left != -1 || err != nil {
			t.Errorf("%d tries left, %v", left, err)
		}
		return use([]byte(given))
	})
	create(t, b, "k", key.P256, nil)
	c := key.PINChange{New: keytest.Lend([]byte(given)), GuessableUnsafe: true}
	if err := b.ChangePIN(t.Context(), key.Ref{Name: "k"}, c); err != nil {
		t.Fatal(err)
	}
	s := keytest.Only(t, b)
	mustSign(t, s)
	for given = range strings.SplitSeq("a b c d e", " ") {
		if wrong, ok := errors.AsType[*key.PINError](sign(t.Context(), s)); !ok || wrong.TriesLeft != -1 {
			t.Errorf("wrong PIN %q: %v", given, wrong)
		}
	}
	given = "a PIN"
	mustSign(t, s)
}

// TestRemovedPINAndLockout: the key has no PIN any more, but is refused as before.
func TestRemovedPINAndLockout(t *testing.T) {
	w := newPINWorld(t)
	w.chip.ExpectLockout(3)
	create(t, w.backend, "other", key.P256, []byte("old PIN"))
	mustChange(t, w.backend, nil, nil)
	k, err := key.NewRing(w.backend).Resolve(t.Context(), key.Ref{Name: "k"})
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, k)
	other, err := key.NewRing(w.backend).Resolve(t.Context(), key.Ref{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	w.given = []byte("wrong")
	for range 3 {
		if err := sign(t.Context(), other); err == nil {
			t.Error("a wrong PIN was taken")
		}
	}
	err = sign(t.Context(), k)
	if _, ok := errors.AsType[*key.LockoutError](err); !ok {
		t.Errorf("during the lockout: %v", err)
	}
}

// TestHostKeyTakesNoPIN: sshd has nobody to ask.
func TestHostKeyTakesNoPIN(t *testing.T) {
	b := newBackend(t, tpmtest.Start(t), nil)
	if _, err := b.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSHHost, Algorithm: key.P256}); err != nil {
		t.Fatal(err)
	}
	c := key.PINChange{New: keytest.Lend([]byte("a PIN")), GuessableUnsafe: true}
	if err := b.ChangePIN(t.Context(), key.Ref{Name: "k"}, c); !errors.Is(err, key.ErrUsage) {
		t.Errorf("got %v", err)
	}
	if _, err := keytest.Only(t, b).SignContext(t.Context(), make([]byte, 32), crypto.SHA256); err != nil {
		t.Error(err)
	}
}
