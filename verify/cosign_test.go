package verify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestVerifiesCosign verifies a bundle that cosign made with a key.
func TestVerifiesCosign(t *testing.T) {
	program := testenv.Need(t, testenv.Cosign)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "file": message,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"import-key-pair", "--key", "key.pem", "--output-key-prefix", "release"},
		{"sign-blob", "--yes", "--key", "release.key", "--use-signing-config=false", "--tlog-upload=false", "--bundle", "bundle.json", "file"},
	} {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + dir, "COSIGN_PASSWORD="}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cosign %s: %v\n%s", args[0], err, out)
		}
	}
	pub, err := os.ReadFile(filepath.Join(dir, "release.pub"))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(filepath.Join(dir, "bundle.json"))
	if err != nil {
		t.Fatal(err)
	}
	trust, err := ParseKeys(pub)
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, trust)
	if _, err := v.Blob(bundle, bytes.NewReader(message)); err != nil {
		t.Error(err)
	}
	_, err = v.Blob(bundle, bytes.NewReader(changed))
	wants(t, "changed file", err, ChangedFile)
}
