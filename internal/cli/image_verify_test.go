package cli

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/ocitest"
	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/oci"
	"github.com/sealsmith/sealsmith/verify"
)

// TestVerifySubject: a good signature is found among what others attached; without
// it, the error tells whether all were looked at.
func TestVerifySubject(t *testing.T) {
	var broken atomic.Bool
	host := ocitest.Serve(t, ocitest.Faulty(ocitest.Handler(true), func(w http.ResponseWriter, r *http.Request) bool {
		if !broken.Load() || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		w.WriteHeader(http.StatusInternalServerError)
		return true
	}))
	registry := newRegistryClient()
	image, err := oci.Build(t.Context(), oci.BuildOptions{Inputs: []oci.Input{{Platform: oci.Platform{OS: "linux", Architecture: "arm64"}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	subject, err := registry.Push(t.Context(), host+"/app:v1", image, nil)
	if err != nil {
		t.Fatal(err)
	}
	k := sigtest.NewKey(t, key.P256)
	trust, err := verify.TrustKeys(k.Info().Public)
	if err != nil {
		t.Fatal(err)
	}
	policy := verify.Policy{Trust: trust, Require: []verify.Format{verify.Sigstore}, At: time.Now()}
	wants := func(status int, texts ...string) {
		t.Helper()
		_, err := verifySubject(t.Context(), registry, subject, policy)
		if exitStatus(err) != status {
			t.Errorf("status %d, want %d: %v", exitStatus(err), status, err)
		}
		for _, text := range texts {
			if !strings.Contains(fmt.Sprint(err), text) {
				t.Errorf("%v; want %q", err, text)
			}
		}
	}
	wants(exitRefused, "nobody signed it")
	for range 10 {
		if err := signSubject(t.Context(), registry, subject, sigtest.NewKey(t, key.P256)); err != nil {
			t.Fatal(err)
		}
	}
	wants(exitRefused, "wrong key", "2 more signatures were refused")
	if err := signSubject(t.Context(), registry, subject, k); err != nil {
		t.Fatal(err)
	}
	wants(0)
	broken.Store(true)
	wants(exitFailed, "registry cannot be reached")
	if _, err := verifySubject(t.Context(), registry, subject, policy); errors.Is(err, verify.ErrRefused) {
		t.Errorf("not looked at and refused: %v", err)
	}
}
