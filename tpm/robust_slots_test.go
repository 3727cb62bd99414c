package tpm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// others is another program that leaves things in a TPM which nobody manages.
type others struct {
	t       *testing.T
	chip    *tpmtest.TPM
	handles []tpm2.TPMHandle
}

func (o *others) object() {
	o.t.Helper()
	rsp, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm.StorageTemplate())}.Execute(o.chip)
	if err != nil {
		o.t.Fatal(err)
	}
	o.handles = append(o.handles, rsp.ObjectHandle)
}

func (o *others) session() {
	o.t.Helper()
	rsp, err := tpm2.StartAuthSession{
		TPMKey: tpm2.TPMRHNull, Bind: tpm2.TPMRHNull, NonceCaller: tpm2.TPM2BNonce{Buffer: make([]byte, 16)},
		SessionType: tpm2.TPMSEHMAC, Symmetric: tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull}, AuthHash: tpm2.TPMAlgSHA256,
	}.Execute(o.chip)
	if err != nil {
		o.t.Fatal(err)
	}
	o.handles = append(o.handles, tpm2.TPMHandle(rsp.SessionHandle.HandleValue()))
}

func (o *others) leave() {
	o.t.Helper()
	for _, h := range o.handles {
		if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(o.chip); err != nil {
			o.t.Fatal(err)
		}
	}
	o.handles = nil
}

// TestSlotsHeldByOthers: a chip has three slots for objects, of which we need two,
// and three for sessions, of which we need one. When there are fewer we say so, and
// when there are enough again everything works.
func TestSlotsHeldByOthers(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			other := &others{t: t, chip: w.chip}
			for what, x := range map[string]struct {
				take func()
				free int // how many others may hold
				code tpm2.TPMRC
			}{
				"objects":  {other.object, 1, tpm2.TPMRCObjectMemory},
				"sessions": {other.session, 2, tpm2.TPMRCSessionMemory},
			} {
				for held := 1; held <= 3; held++ {
					d := w.open()
					if _, err := d.Status(t.Context()); err != nil { // opens it: that unloads leftovers
						t.Fatal(err)
					}
					for range held {
						x.take()
					}
					err := o.do(w, t.Context())
					switch {
					case held <= x.free && err != nil:
						t.Errorf("others hold %d %s: %v", held, what, err)
					case held > x.free && (!errors.Is(err, x.code) || len(hint.Of(err)) == 0):
						t.Errorf("others hold %d %s: %v, hints %q", held, what, err, hint.Of(err))
					}
					other.leave()
					w.tidy()
					w.check(fmt.Sprintf("others held %d %s", held, what))
					w.backend.Close()
				}
			}
		})
	}
}

// TestOurSlotsAreFull: what the TPM has no room for because of us is unloaded.
func TestOurSlotsAreFull(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			other := &others{t: t, chip: w.chip}
			w.open()
			for range 2 {
				if err := w.sign(w.t.Context()); err != nil { // takes a slot
					t.Fatal(err)
				}
				other.object()
				if err := o.do(w, t.Context()); err != nil {
					t.Error(err)
				}
				other.leave()
			}
			w.backend.Close()
		})
	}
}

// TestGarbledAnswers: an answer whose HMAC is wrong is not believed. What it was
// about is not done, and works at the next try.
func TestGarbledAnswers(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			for _, on := range []tpm2.TPMCC{tpm2.TPMCCLoad, o.main} {
				w.open()
				w.chip.Inject(tpmtest.Fault{On: on, Kind: tpmtest.Garble})
				if err := o.do(w, t.Context()); err == nil || !strings.Contains(err.Error(), "HMAC") {
					t.Errorf("%v: %v", on, err)
				}
				w.chip.Calm()
				w.tidy()
				w.check(fmt.Sprint(on))
				w.backend.Close()
			}
		})
	}
}

// TestWedgeAtEachOperation: a TPM that does not answer is given up in time, and not
// asked again at once.
func TestWedgeAtEachOperation(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			w.open().SetCommandLimit(o.main, time.Second)
			w.chip.Inject(tpmtest.Fault{On: o.main, Kind: tpmtest.Wedge})
			err := o.do(w, t.Context())
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, key.ErrNoDevice) || len(hint.Of(err)) == 0 {
				t.Errorf("%v, hints %q", err, hint.Of(err))
			}
			w.check("afterwards")
			w.backend.Close()
		})
	}
}

// TestLockedOut: without a PIN nothing is refused; with one nobody is asked for it.
func TestLockedOut(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			w.open()
			create(t, w.backend, "guessed", key.P256, []byte("a PIN"))
			s := w.key("guessed")
			right := w.pin
			w.pin = []byte("a wrong PIN")
			for range 3 {
				if sign(t.Context(), s) == nil {
					t.Error("a wrong PIN was taken")
				}
			}
			w.pin = right
			err := o.do(w, t.Context())
			locked, ok := errors.AsType[*key.LockoutError](err)
			switch {
			case o.pin == nil && err != nil:
				t.Error(err)
			case o.pin != nil && (!ok || locked.Recovery == 0 || len(hint.Of(err)) == 0):
				t.Errorf("%v, hints %q", err, hint.Of(err))
			}
			if err := w.backend.Delete(t.Context(), s.Info().Ref); err != nil {
				t.Error(err)
			}
			w.chip.ResetLockout()
			w.check("afterwards")
			w.backend.Close()
		})
	}
}

// TestSecondOwner: another process is told at once, and the first goes on.
func TestSecondOwner(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			w.open()
			w.check("before")
			first := w.backend
			w.open()
			start := time.Now()
			if err := o.do(w, t.Context()); !errors.Is(err, key.ErrBusy) || len(hint.Of(err)) == 0 || time.Since(start) > 2*time.Second {
				t.Errorf("the second: %v after %v", err, time.Since(start))
			}
			second := w.backend
			w.backend = first
			w.check("the first")
			first.Close()
			w.backend = second
			w.check("the second, alone")
			second.Close()
		})
	}
}

// TestCancelledOperation: what was given up leaves no trace.
func TestCancelledOperation(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			w := newRobustWorld(t, o)
			for n := range w.commands(o) {
				w.open()
				ctx, cancel := context.WithCancel(t.Context())
				w.chip.Inject(tpmtest.Fault{Kind: tpmtest.Split, Skip: n, Then: cancel})
				if err := o.do(w, ctx); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("cancelled at command %d: %v", n+1, err)
				}
				w.chip.Calm()
				w.tidy()
				w.check(fmt.Sprintf("cancelled at command %d", n+1))
				w.backend.Close()
				cancel()
			}
		})
	}
}
