package tpm_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// operation is something that is done with the key "k", and must not be undone,
// half done or done with a PIN twice whatever happens to the TPM meanwhile.
type operation struct {
	name   string
	pin    []byte     // of the key "k"; nil: none
	others int        // keys besides
	main   tpm2.TPMCC // the command that does it, with the PIN if there is one
	do     func(*robustWorld, context.Context) error
}

var operations = []operation{
	{"create", nil, 0, tpm2.TPMCCCreate, (*robustWorld).create},
	{"sign with each of three keys", nil, 2, tpm2.TPMCCSign, (*robustWorld).signAll},
	{"sign with a PIN", []byte("PIN 0"), 0, tpm2.TPMCCSign, (*robustWorld).sign},
	{"change the PIN", []byte("PIN 0"), 0, tpm2.TPMCCObjectChangeAuth, (*robustWorld).change},
}

// robustWorld is a key folder and its TPM.
type robustWorld struct {
	t       *testing.T
	chip    *tpmtest.TPM
	dir     string
	backend *tpm.Backend
	pin     []byte // of the key "k" now
	others  int    // keys that stay
	made    int    // keys that do not, and PINs
}

func newRobustWorld(t *testing.T, o operation) *robustWorld {
	t.Helper()
	w := &robustWorld{
		t: t, chip: tpmtest.Start(t), dir: filepath.Join(t.TempDir(), "keys"), pin: o.pin, others: o.others,
	}
	w.open()
	create(t, w.backend, "k", key.P256, o.pin)
	for i := range o.others {
		create(t, w.backend, fmt.Sprintf("other-%d", i), key.P256, nil)
	}
	mustSign(t, w.key("k")) // the first use of an algorithm takes more commands
	if o.pin != nil {
		if err := w.change(w.t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.backend.Close()
	return w
}

// open makes a backend that has nothing loaded.
func (w *robustWorld) open() *tpm.Device {
	w.t.Helper()
	d := w.chip.Open()
	w.backend = backendOver(w.t, d, w.dir, func(_ context.Context, _ key.AuthRequest, use func([]byte) error) error {
		return use(w.pin)
	})
	return d
}

func (w *robustWorld) key(name string) key.Signer {
	w.t.Helper()
	s, err := key.NewRing(w.backend).Resolve(w.t.Context(), key.Ref{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *robustWorld) sign(ctx context.Context) error { return sign(ctx, w.key("k")) }

// signAll signs with more keys than there are slots, and with the first again.
func (w *robustWorld) signAll(ctx context.Context) error {
	for _, name := range []string{"k", "other-0", "other-1", "k"} {
		if err := sign(ctx, w.key(name)); err != nil {
			return err
		}
	}
	return nil
}

func (w *robustWorld) create(ctx context.Context) error {
	w.made++
	s, err := w.backend.Create(ctx, key.Spec{Name: fmt.Sprintf("key-%d", w.made), Usage: key.SSH, Algorithm: key.P256})
	if err == nil {
		err = sign(ctx, s)
	}
	if err == nil {
		err = w.backend.Delete(ctx, s.Info().Ref)
	}
	return err
}

// tidy deletes what create has made and could not use.
func (w *robustWorld) tidy() {
	w.t.Helper()
	ref := key.Ref{Name: fmt.Sprintf("key-%d", w.made)}
	if err := w.backend.Delete(w.t.Context(), ref); err != nil && !errors.Is(err, key.ErrNotFound) {
		w.t.Error(err)
	}
}

func (w *robustWorld) change(ctx context.Context) error {
	w.made++
	pin := fmt.Appendf(nil, "PIN %d", w.made)
	err := changePIN(ctx, w.backend, w.pin, pin)
	if err == nil {
		w.pin = pin
	}
	return err
}

// check fails the test unless the folder is whole and the key signs with its PIN.
func (w *robustWorld) check(what string) {
	w.t.Helper()
	n := 0
	for in, err := range tpm.ReadDir(w.dir) {
		if n++; err != nil {
			w.t.Errorf("%s: %s: %v", what, in.Ref, err)
		}
	}
	if n != 1+w.others {
		w.t.Errorf("%s: %d keys", what, n)
	}
	if err := w.sign(w.t.Context()); err != nil {
		w.t.Fatalf("%s: the key does not sign afterwards: %v", what, err)
	}
}

// commands are those of the operation by a backend that has nothing loaded.
func (w *robustWorld) commands(o operation) []tpm2.TPMCC {
	w.t.Helper()
	w.open()
	defer w.backend.Close()
	w.chip.Commands()
	if err := o.do(w, w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return w.chip.Commands()
}

// TestConnectionLostAtEachCommand hangs up, or lets the TPM lose its power, before
// and after each command of each operation. What used no PIN is repeated and works;
// a PIN is never sent again by itself, but everything works at the next try.
func TestConnectionLostAtEachCommand(t *testing.T) {
	kinds := map[string]tpmtest.Kind{
		"hang up before": tpmtest.FailBefore, "hang up after": tpmtest.FailAfter, "cut": tpmtest.Cut,
		"power cut before": tpmtest.PowerCutBefore, "power cut after": tpmtest.PowerCutAfter,
	}
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			commands := w.commands(o)
			for name, kind := range kinds {
				for n, code := range commands {
					quick := kind == tpmtest.FailBefore || kind == tpmtest.FailAfter
					if !quick && slices.Contains(commands[n+1:], code) {
						continue // the last one stands for all
					}
					what := fmt.Sprintf("%s: %v (%d of %d)", name, code, n+1, len(commands))
					w.open()
					w.chip.Commands()
					w.chip.Inject(tpmtest.Fault{Kind: kind, Skip: n})
					err := o.do(w, t.Context())
					w.checkLoss(o, code, what, err)
					w.chip.Calm()
					w.check(what)
					w.backend.Close()
					if kind == tpmtest.PowerCutBefore || kind == tpmtest.PowerCutAfter {
						// The TPM counts it as a wrong PIN (part 1, 19.8.6). It was none
						// of ours, which the end of the test looks for.
						w.chip.ResetLockout()
					}
				}
			}
		})
	}
}

// checkLoss checks what came of an operation that lost its connection.
func (w *robustWorld) checkLoss(o operation, lost tpm2.TPMCC, what string, err error) {
	w.t.Helper()
	if err == nil && (o.pin == nil || lost != o.main) {
		return
	}
	if o.pin == nil || !errors.Is(err, key.ErrNoDevice) || len(hint.Of(err)) == 0 {
		w.t.Errorf("%s: %v, hints %q", what, err, hint.Of(err))
	}
	want := 1
	if o.main == tpm2.TPMCCObjectChangeAuth {
		want = 2 // the check of the old PIN, and the change
	}
	if sent := tpmtest.Count(w.chip.Commands(), o.main); sent > want {
		w.t.Errorf("%s: the PIN was sent %d times", what, sent)
	}
}

// TestResetAtEachCommand resets the TPM in order, as suspend does, before each command
// of each operation, which is after the one before it, and after the last: the
// connection stays, what was loaded is gone. Nobody notices.
func TestResetAtEachCommand(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			commands := w.commands(o)
			for n := range len(commands) + 1 {
				fault := tpmtest.Fault{Kind: tpmtest.ResetBefore, Skip: n}
				if n == len(commands) {
					fault = tpmtest.Fault{Kind: tpmtest.ResetAfter, Skip: n - 1}
				}
				what := fmt.Sprintf("reset after %v", commands[:n])
				w.open()
				w.chip.Inject(fault)
				if err := o.do(w, t.Context()); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				w.chip.Calm()
				w.check(what)
				w.backend.Close()
			}
		})
	}
}

// TestAnswersOfTrouble: each answer by which a TPM says that it cannot now, to each
// command that can get it.
func TestAnswersOfTrouble(t *testing.T) {
	commands := []tpm2.TPMCC{
		tpm2.TPMCCCreatePrimary, tpm2.TPMCCStartAuthSession, tpm2.TPMCCLoad, tpm2.TPMCCCreate,
		tpm2.TPMCCSign, tpm2.TPMCCObjectChangeAuth,
	}
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			used := w.commands(o)
			for _, on := range commands {
				codes := []tpm2.TPMRC{tpm2.TPMRCReferenceH0, tpm2.TPMRCReferenceS0, tpm2.TPMRCRetry}
				if on == o.main {
					codes = append(codes, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate)
				}
				for _, code := range codes {
					if tpmtest.Count(used, on) == 0 {
						continue
					}
					w.open()
					w.chip.Inject(tpmtest.Fault{On: on, Kind: tpmtest.Answer, Code: code})
					if err := o.do(w, t.Context()); err != nil {
						t.Errorf("%v to %v: %v", code, on, err)
					}
					w.backend.Close()
				}
			}
			w.open()
			w.check("afterwards")
		})
	}
}

// TestPatienceEnds: a TPM that asks for patience for ever is told so in time.
func TestPatienceEnds(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			for _, code := range []tpm2.TPMRC{tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate} {
				w.open().SetRetryLimit(20 * time.Millisecond)
				w.chip.Inject(tpmtest.Fault{On: o.main, Kind: tpmtest.Answer, Code: code, Times: 1 << 20})
				if err := o.do(w, t.Context()); !errors.Is(err, code) {
					t.Errorf("%v for ever: %v", code, err)
				}
				w.chip.Calm()
				w.check(fmt.Sprint(code))
				w.backend.Close()
			}
		})
	}
}
