package tpm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestKeyFileLargerThanACommand: it harms nobody else's connection.
func TestKeyFileLargerThanACommand(t *testing.T) {
	chip := tpmtest.Start(t)
	dir := filepath.Join(t.TempDir(), "keys")
	b := backendOver(t, chip.Open(), dir, nil)
	good := create(t, b, "good", key.P256, nil)
	ours, err := os.ReadFile(filepath.Join(dir, "good.tpm"))
	if err != nil {
		t.Fatal(err)
	}
	mustSign(t, good)
	noPIN := true
	large, err := tpm.ForeignFile(ours, make([]byte, 5000), &noPIN)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "large.tpm"), large, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := key.NewRing(b).Resolve(t.Context(), key.Ref{Name: "large"})
	if err != nil {
		t.Fatal(err)
	}
	if err := sign(t.Context(), s); !errors.Is(err, key.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	chip.Commands()
	mustSign(t, good)
	if got := chip.Commands(); !slices.Equal(got, []tpm2.TPMCC{tpm2.TPMCCSign}) {
		t.Errorf("then a signature took %v", got)
	}
}

// TestPatienceWithUnloading: what was loaded is unloaded though nobody wants the
// result any more, and though the TPM asks for patience.
func TestPatienceWithUnloading(t *testing.T) {
	chip := tpmtest.Start(t)
	dir := filepath.Join(t.TempDir(), "keys")
	maker := backendOver(t, chip.Open(), dir, nil)
	create(t, maker, "k", key.P256, nil)
	closed(t, maker)
	s := keytest.Only(t, backendOver(t, chip.Open(), dir, nil))
	ctx, cancel := context.WithCancel(t.Context())
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCFlushContext, Kind: tpmtest.Answer, Code: tpm2.TPMRCRetry, Times: 3, Then: cancel})
	if err := sign(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestWedgedAtMakingRoom: a TPM that does not answer is not asked again at once.
func TestWedgedAtMakingRoom(t *testing.T) {
	for _, command := range []tpm2.TPMCC{tpm2.TPMCCContextSave, tpm2.TPMCCFlushContext} {
		t.Run(fmt.Sprint(command), func(t *testing.T) {
			t.Parallel()
			chip := tpmtest.Start(t)
			d := chip.Open()
			d.SetCommandLimit(command, 300*time.Millisecond)
			b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
			var keys []key.Signer
			for _, name := range []string{"a", "b", "c"} {
				keys = append(keys, create(t, b, name, key.P256, nil))
			}
			mustSign(t, keys[0])
			mustSign(t, keys[1])
			chip.Inject(tpmtest.Fault{On: command, Kind: tpmtest.Wedge})
			chip.Commands()
			if err := sign(t.Context(), keys[2]); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			if got := chip.Commands(); got[len(got)-1] != command {
				t.Errorf("commands %v", got)
			}
			mustSign(t, keys[2])
		})
	}
}
