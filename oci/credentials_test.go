package oci

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sealsmith/sealsmith/internal/ocitest"
)

// TestCredentialsStayHome: a blob may be stored at another host, which gets no
// credentials; no other host gets them either.
func TestCredentialsStayHome(t *testing.T) {
	const login = "alice:secret"
	var mu sync.Mutex
	seen := map[string][]string{} // host: Authorization headers
	note := func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Host] = append(seen[r.Host], r.Header.Get("Authorization"))
	}
	registry := ocitest.Handler(true)
	storage := ocitest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		registry.ServeHTTP(w, r)
	}))
	host := ocitest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		switch {
		case r.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(login)):
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, "http://"+storage+r.URL.Path, http.StatusTemporaryRedirect)
		default:
			registry.ServeHTTP(w, r)
		}
	}))
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(login)))
	if err := os.WriteFile(filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	client := newTestClient()
	subject := pushed(t, client, host)
	if _, err := client.Attach(t.Context(), subject, signature("alice")); err != nil {
		t.Fatal(err)
	}
	if got, err := attached(t, client, subject); err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if len(seen[storage]) == 0 || len(seen[host]) == 0 {
		t.Fatalf("requests: %v", seen)
	}
	for _, header := range seen[storage] {
		if header != "" {
			t.Errorf("the storage got %q", header)
		}
	}
}

// TestTokenServerElsewhere: a registry must not send our password to a plain
// server of its choice.
func TestTokenServerElsewhere(t *testing.T) {
	var asked atomic.Int32
	thief := ocitest.Serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	for _, realm := range []string{"http://" + thief + "/token", "http://token.example.org/", "file:///etc/passwd"} {
		host := ocitest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", realm))
			w.WriteHeader(http.StatusUnauthorized)
		}))
		if got, err := newTestClient().Resolve(t.Context(), host+"/app:v1"); !errors.Is(err, ErrInvalid) {
			t.Errorf("realm %s: %v, %v", realm, got, err)
		}
	}
	if asked.Load() != 0 {
		t.Error("the token server was asked")
	}
}
