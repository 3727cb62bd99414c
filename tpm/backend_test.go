package tpm_test

import (
	"path/filepath"
	"testing"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

func TestBackend(t *testing.T) {
	keytest.TestBackend(t, func(t *testing.T, auth key.AuthFunc) keytest.CreatorDeleter {
		chip := tpmtest.Start(t)
		if auth != nil {
			chip.ExpectLockout(1) // the suite gives one wrong PIN
		}
		return newBackend(t, chip, auth)
	})
}

// newBackend makes a backend with an empty key folder.
func newBackend(t *testing.T, chip *tpmtest.TPM, auth key.AuthFunc) *tpm.Backend {
	t.Helper()
	b, err := tpm.New(chip.Open(), tpm.Config{Dir: filepath.Join(t.TempDir(), "keys"), Auth: auth})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
