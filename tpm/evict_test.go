package tpm_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
)

// inTurn makes more keys than there are slots, and signs with each twice: then all
// were unloaded once.
func inTurn(t *testing.T, chip *tpmtest.TPM) []key.Signer {
	t.Helper()
	b := newBackend(t, chip, lend(t, "right"))
	var keys []key.Signer
	for name, pin := range map[string][]byte{"a": nil, "b": nil, "c": []byte("right"), "d": nil} {
		keys = append(keys, create(t, b, name, key.P256, pin))
	}
	for range 2 {
		for _, k := range keys {
			mustSign(t, k)
		}
	}
	chip.Commands()
	return keys
}

// TestKeysInTurn is the bound of what a signature costs when keys do not fit.
func TestKeysInTurn(t *testing.T) {
	chip := tpmtest.Start(t)
	keys := inTurn(t, chip)
	for range 2 {
		for _, k := range keys {
			mustSign(t, k)
			want := []tpm2.TPMCC{tpm2.TPMCCFlushContext, tpm2.TPMCCContextLoad, tpm2.TPMCCSign}
			if got := chip.Commands(); !slices.Equal(got, want) {
				t.Errorf("a signature took %v, want %v", got, want)
			}
		}
	}
}

// TestSavedKeyThatIsNotTaken: what is saved only saves time.
func TestSavedKeyThatIsNotTaken(t *testing.T) {
	for name, f := range map[string]tpmtest.Fault{
		"reset meanwhile": {Kind: tpmtest.Answer, Code: tpm2.TPMRCIntegrity},
		"no slot":         {Kind: tpmtest.Answer, Code: tpm2.TPMRCObjectMemory},
		"hung up":         {Kind: tpmtest.FailBefore},
		"cut":             {Kind: tpmtest.Cut},
	} {
		t.Run(name, func(t *testing.T) {
			chip := tpmtest.Start(t)
			keys := inTurn(t, chip)
			f.On = tpm2.TPMCCContextLoad
			chip.Inject(f)
			for _, k := range keys {
				mustSign(t, k)
			}
			if got := chip.Commands(); tpmtest.Count(got, tpm2.TPMCCContextLoad) == 0 || tpmtest.Count(got, tpm2.TPMCCLoad) == 0 {
				t.Errorf("commands %v", got)
			}
		})
	}
}

// TestCancelledBeforeASavedKey: saved keys stay good for those who come later.
func TestCancelledBeforeASavedKey(t *testing.T) {
	chip := tpmtest.Start(t)
	keys := inTurn(t, chip)
	ctx, cancel := context.WithCancel(t.Context())
	whole := func(answer []byte) []byte { return answer }
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCFlushContext, Kind: tpmtest.Change, Edit: whole, Then: cancel})
	if err := sign(ctx, keys[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, k := range keys {
		mustSign(t, k)
	}
	if got := chip.Commands(); tpmtest.Count(got, tpm2.TPMCCLoad) != 0 {
		t.Errorf("commands %v", got)
	}
}

// TestKeysThatCannotBeSaved: a TPM may refuse to, and keys are loaded again.
func TestKeysThatCannotBeSaved(t *testing.T) {
	chip := tpmtest.Start(t)
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCContextSave, Kind: tpmtest.Answer, Code: tpm2.TPMRCCommandCode, Times: 100})
	for _, k := range inTurn(t, chip) {
		mustSign(t, k)
	}
	if got := chip.Commands(); tpmtest.Count(got, tpm2.TPMCCContextLoad) != 0 {
		t.Errorf("commands %v", got)
	}
}

// TestWedgedAtASavedKey: a TPM that does not answer is not asked again at once.
func TestWedgedAtASavedKey(t *testing.T) {
	chip := tpmtest.Start(t)
	d := chip.Open()
	d.SetCommandLimit(tpm2.TPMCCContextLoad, 300*time.Millisecond)
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
	var keys []key.Signer
	for _, name := range []string{"a", "b", "c"} {
		keys = append(keys, create(t, b, name, key.P256, nil))
		mustSign(t, keys[len(keys)-1])
	}
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCContextLoad, Kind: tpmtest.Wedge})
	chip.Commands()
	if err := sign(t.Context(), keys[0]); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if got := chip.Commands(); got[len(got)-1] != tpm2.TPMCCContextLoad {
		t.Errorf("commands %v", got)
	}
	mustSign(t, keys[0])
}
