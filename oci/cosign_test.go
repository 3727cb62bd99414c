package oci

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/sigtest"
)

// TestCosignInterop: we find what cosign attaches, and cosign finds and verifies
// the same when we attach it, on both kinds of registry.
func TestCosignInterop(t *testing.T) {
	cosign := sigtest.NewCosign(t)
	cosign.GenerateKey()
	image := build(t, options(t))
	eachRegistry(t, func(t *testing.T, host string) {
		client := newTestClient()
		theirs, err := client.Push(t.Context(), host+"/theirs", image, nil)
		if err != nil {
			t.Fatal(err)
		}
		cosign.MustRun("sign", "--yes", "--key", sigtest.CosignKey, "--signing-config", sigtest.Services, theirs.String())
		found, err := attached(t, client, theirs)
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
		cosign.MustRun("verify", "--key", sigtest.CosignPub, "--insecure-ignore-tlog", ours.String())
	})
}
