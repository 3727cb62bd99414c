package tpm_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestBackend runs the suite on swtpm, which has no RSA-4096.
func TestBackend(t *testing.T) {
	keytest.TestBackend(t, keytest.Options{Lacks: []key.Algorithm{key.RSA4096}}, func(t *testing.T, auth key.AuthFunc) keytest.CreatorDeleter {
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
	return backendOver(t, chip.Open(), filepath.Join(t.TempDir(), "keys"), auth)
}

func backendOver(t *testing.T, d *tpm.Device, dir string, auth key.AuthFunc) *tpm.Backend {
	t.Helper()
	b, err := tpm.New(d, tpm.Config{Dir: dir, Auth: auth})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// create makes an ssh key; a nil PIN makes one without.
func create(t *testing.T, b *tpm.Backend, name string, alg key.Algorithm, pin []byte) key.Signer {
	t.Helper()
	spec := key.Spec{Name: name, Usage: key.SSH, Algorithm: alg}
	if pin != nil {
		spec.PIN = keytest.Lend(pin)
	}
	s, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return s
}

// sign signs a SHA-256 digest. keytest's suite verifies signatures; here it is
// about commands and errors.
func sign(ctx context.Context, s key.Signer) error {
	digest := sha256.Sum256([]byte("message"))
	_, err := s.SignContext(ctx, digest[:], crypto.SHA256)
	return err
}

func mustSign(t *testing.T, s key.Signer) {
	t.Helper()
	if err := sign(t.Context(), s); err != nil {
		t.Fatalf("sign: %v", err)
	}
}

// infos lists a key folder without a device.
func infos(t *testing.T, dir string) map[string]key.Info {
	t.Helper()
	all := map[string]key.Info{}
	for in, err := range tpm.ReadDir(dir) {
		if err != nil {
			t.Fatal(err)
		}
		all[in.Ref.Name] = in
	}
	return all
}

// lend is an AuthFunc that always gives the same PIN, out of locked memory as the
// agent would.
func lend(t *testing.T, pin string) key.AuthFunc {
	t.Helper()
	b, err := secret.Read(strings.NewReader(pin), len(pin))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Wipe)
	return func(_ context.Context, _ key.AuthRequest, use func([]byte) error) error { return b.Use(use) }
}
