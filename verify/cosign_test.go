package verify

import (
	"bytes"
	"testing"

	"github.com/sealsmith/sealsmith/internal/sigtest"
)

// TestVerifiesCosign verifies a bundle that cosign made with a key.
func TestVerifiesCosign(t *testing.T) {
	cosign := sigtest.NewCosign(t)
	cosign.GenerateKey()
	cosign.Write("file", message)
	cosign.MustRun("sign-blob", "--yes", "--key", sigtest.CosignKey, "--signing-config", sigtest.Services, "--bundle", "bundle.json", "file")
	trust, err := ParseKeys(cosign.Read(sigtest.CosignPub))
	if err != nil {
		t.Fatal(err)
	}
	v, bundle := newVerifier(t, trust), cosign.Read("bundle.json")
	if _, err := v.Blob(bundle, bytes.NewReader(message)); err != nil {
		t.Error(err)
	}
	_, err = v.Blob(bundle, bytes.NewReader(changed))
	wants(t, "changed file", err, OtherContent)
}
