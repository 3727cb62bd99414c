package oci

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestCosignInterop: we find what cosign attaches, and cosign finds and verifies
// the same when we attach it, on both kinds of registry.
func TestCosignInterop(t *testing.T) {
	program := testenv.Need(t, testenv.Cosign)
	dir := t.TempDir()
	cosign := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		// Its folder for the public trust root is below HOME; it is not asked for.
		cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=", "HOME="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cosign %v: %v\n%s", args, err, out)
		}
	}
	const services = "services.json" // none: no transparency log, no timestamps
	if err := os.WriteFile(filepath.Join(dir, services), []byte(`{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cosign("generate-key-pair")
	image := build(t, options(t))
	eachRegistry(t, func(t *testing.T, host string) {
		client := newTestClient()
		theirs, err := client.Push(t.Context(), host+"/theirs", image, nil)
		if err != nil {
			t.Fatal(err)
		}
		cosign("sign", "--yes", "--key", "cosign.key", "--signing-config", services, theirs.String())
		found, err := client.Attached(t.Context(), theirs, bundleType)
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		want := signature(string(found[0].Data))
		want.Digest = found[0].Digest
		want.Annotations["org.opencontainers.image.created"] = found[0].Annotations["org.opencontainers.image.created"]
		if diff := cmp.Diff(want, found[0]); diff != "" {
			t.Errorf("cosign's artifact, -ours +cosign's:\n%s", diff)
		}

		ours, err := client.Push(t.Context(), host+"/ours", image, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Attach(t.Context(), ours, found[0]); err != nil {
			t.Fatal(err)
		}
		cosign("verify", "--key", "cosign.pub", "--insecure-ignore-tlog", ours.String())
	})
}
