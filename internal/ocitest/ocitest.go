package ocitest

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Handler is a registry in memory. With referrers it answers the referrers API,
// and names a wrong artifact type there, as some public registries do; without,
// it answers 404 there, as most do.
func Handler(referrers bool) http.Handler {
	return registry.New(
		registry.Logger(log.New(io.Discard, "", 0)),
		registry.WithReferrersSupport(referrers))
}

// Fault answers a request itself and returns true, or returns false to leave it
// to the registry. It is called for several requests at once.
type Fault func(w http.ResponseWriter, r *http.Request) bool

// Faulty puts a fault before a registry.
func Faulty(registry http.Handler, fault Fault) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fault(w, r) {
			registry.ServeHTTP(w, r)
		}
	})
}

// Serve serves a handler until the test ends and returns its address,
// "127.0.0.1:port".
func Serve(t testing.TB, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// Registry serves a [Handler].
func Registry(t testing.TB, referrers bool) string {
	t.Helper()
	return Serve(t, Handler(referrers))
}
