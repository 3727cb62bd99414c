package tpm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestAttestationKeyIsMadeOnce, whichever of two processes is faster.
func TestAttestationKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	s := create(t, newBackend(t, chip, nil), "k", key.P256, nil)
	var wg sync.WaitGroup
	var made [4]*tpm.Evidence
	for i := range made {
		wg.Go(func() {
			data, err := s.(key.Attester).Attest(t.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			made[i], err = tpm.ParseEvidence(data)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, e := range made {
		if e == nil || !bytes.Equal(e.AKPublic, made[0].AKPublic) {
			t.Fatal("more than one attestation key")
		}
	}
}

// TestAttestationKeyOfAnotherTPM is replaced, and that is said: the TPM was cleared,
// or is another one.
func TestAttestationKeyOfAnotherTPM(t *testing.T) {
	t.Parallel()
	one, other := tpmtest.StartProvisioned(t), tpmtest.AnotherManufacturer(t).Start(t)
	old := mustAttest(t, create(t, newBackend(t, one, nil), "k", key.P256, nil))
	ak := only(t, filepath.Join(one.Options().DataDir, "ak-*.tpm"))
	data, err := os.ReadFile(ak)
	if err != nil {
		t.Fatal(err)
	}
	// The other TPM has another device string, hence another file.
	var said []string
	o := other.Options()
	o.Notice = func(text string) { said = append(said, text) }
	d, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
	defer closed(t, b)
	s := create(t, b, "k", key.P256, nil)
	mustAttest(t, s)
	write(t, only(t, filepath.Join(o.DataDir, "ak-*.tpm")), data)
	said = nil
	again := mustAttest(t, s)
	if bytes.Equal(again.AKPublic, old.AKPublic) {
		t.Error("the attestation key of another TPM was used")
	}
	if len(said) != 1 || !strings.Contains(said[0], "enrolled again") {
		t.Errorf("said %q", said)
	}
	if mustAttest(t, s); len(said) != 1 {
		t.Errorf("made again: %q", said)
	}
}

// TestBadAttestationKeyFile: a file that is damaged, or holds another key, is neither
// used nor replaced.
func TestBadAttestationKeyFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	chip := tpmtest.StartProvisioned(t)
	s := create(t, newBackend(t, chip, nil), "k", key.P256, nil)
	mustAttest(t, s)
	path := only(t, filepath.Join(chip.Options().DataDir, "ak-*.tpm"))
	userKey, err := os.ReadFile(only(t, filepath.Join(f.dir, "*.tpm")))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"damaged": []byte("x"), "a user's key": userKey, "empty": nil} {
		write(t, path, content)
		if _, err := attest(t, s, nil); err == nil || !strings.Contains(strings.Join(hint.Of(err), ""), "backup") {
			t.Errorf("%s: %v, hints %q", name, err, hint.Of(err))
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, content) {
			t.Errorf("%s: the file was changed (%v)", name, err)
		}
	}
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %q, %v", pattern, files, err)
	}
	return files[0]
}
