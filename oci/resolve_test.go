package oci

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/ocitest"
)

func TestResolve(t *testing.T) {
	host := ocitest.Registry(t, true)
	client := newTestClient()
	subject := pushed(t, client, host)
	for _, ref := range []string{host + "/app:v1", subject.String(), host + "/app:v1@" + subject.Digest(),
		strings.Replace(host, "127.0.0.1", "localhost", 1) + "/app:v1"} {
		got, err := client.Resolve(t.Context(), ref)
		if err != nil || got.Digest() != subject.Digest() {
			t.Errorf("%s: %v, %v; want %s", ref, got, err, subject)
		}
	}
	images, err := client.Images(t.Context(), subject)
	if err != nil || len(images) != 2 {
		t.Fatal(images, err)
	}
	for _, image := range images {
		got, err := client.Resolve(t.Context(), image.String())
		if err != nil || got != image || got.mediaType != "application/vnd.oci.image.manifest.v1+json" {
			t.Errorf("%v, %v; want %v", got, err, image)
		}
	}
}

// TestResolvedOnce: who resolved a tag keeps the image when the tag moves.
func TestResolvedOnce(t *testing.T) {
	host := ocitest.Registry(t, true)
	client := newTestClient()
	first := pushed(t, client, host)
	o := options(t)
	o.Labels.Version = "v1.2.4"
	second, err := client.Push(t.Context(), host+"/app:v1", build(t, o), nil)
	if err != nil || second == first {
		t.Fatal(second, err)
	}
	if _, err := client.Attach(t.Context(), first, signature("alice")); err != nil {
		t.Fatal(err)
	}
	moved, err := client.Resolve(t.Context(), host+"/app:v1")
	if err != nil || moved != second {
		t.Errorf("resolved %v, %v; want %v", moved, err, second)
	}
	if got, err := attached(t, client, moved); !errors.Is(err, ErrNotAttached) {
		t.Errorf("the second image has %v, %v", got, err)
	}
}

// TestErrorsAreToldApart with what a person would see.
func TestErrorsAreToldApart(t *testing.T) {
	host := ocitest.Registry(t, true)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	denied := ocitest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	mute := ocitest.Serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}))
	zeros := strings.Repeat("0", 64)
	for ref, want := range map[string]error{
		host + "/app:v1":                      ErrNotFound,
		host + "/app@sha256:" + zeros:         ErrNotFound,
		nobody.Addr().String() + "/app:v1":    ErrUnreachable,
		mute + "/app:v1":                      ErrUnreachable,
		denied + "/app:v1":                    ErrDenied,
		host + "/app":                         ErrUsage,
		"app:v1":                              ErrUsage,
		"app":                                 ErrUsage,
		host + "/app@sha256:00":               ErrUsage,
		host + "/app@sha512:" + zeros + zeros: ErrUsage,
		"http://" + host + "/app:v1":          ErrUsage,
		"192.0.2.1:80\n/app:v1":               ErrUsage,
	} {
		_, err := newTestClient().Resolve(t.Context(), ref)
		if !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", ref, err, want)
		}
		for _, other := range []error{ErrNotFound, ErrUnreachable, ErrDenied, ErrUsage, ErrInvalid, ErrNotAttached} {
			if other != want && errors.Is(err, other) {
				t.Errorf("%q: %v is also %v", ref, err, other)
			}
		}
		if (want == ErrDenied || want == ErrUsage) && len(hint.Of(err)) == 0 {
			t.Errorf("%q: no hint with %v", ref, err)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newTestClient().Resolve(canceled, host+"/app:v1"); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// FuzzReference: what is accepted means the same when its full name is read.
func FuzzReference(f *testing.F) {
	for _, seed := range []string{
		"127.0.0.1:5000/app:v1", "[::1]:5000/a/b:v1", "localhost/app:v1", "ghcr.io/o/r@sha256:" + strings.Repeat("0a", 32),
		"ghcr.io/o/r:t@sha256:" + strings.Repeat("0a", 32), "app", "docker.io/library/app:v1", "https://h/app:v1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parseReference(text)
		if err != nil {
			if !errors.Is(err, ErrUsage) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseReference(parsed.Name())
		if err != nil || again.Name() != parsed.Name() || again.Context().Scheme() != parsed.Context().Scheme() {
			t.Errorf("%q is %q, which is %v, %v", text, parsed.Name(), again, err)
		}
		if repo, err := parseRepository(text); err == nil {
			t.Errorf("%q is a reference and a repository, %s", text, repo)
		}
	})
}
