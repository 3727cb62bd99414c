package oci

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealsmith/sealsmith/internal/ocitest"
)

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// signature is an artifact as cosign 3 makes them.
func signature(data string) Artifact {
	return Artifact{
		Type: bundleType, MediaType: bundleType, Data: []byte(data),
		Annotations: map[string]string{
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
			"org.opencontainers.image.created":  "2023-11-14T22:13:20Z",
		},
	}
}

// pushed pushes the small image.
func pushed(t testing.TB, c *Client, host string) Subject {
	t.Helper()
	subject, err := c.Push(t.Context(), host+"/app:v1", build(t, options(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return subject
}

// eachRegistry runs a test with and without the referrers API.
func eachRegistry(t *testing.T, test func(t *testing.T, host string)) {
	for _, referrers := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers=%t", referrers), func(t *testing.T) { test(t, ocitest.Registry(t, referrers)) })
	}
}

func TestAttach(t *testing.T) {
	eachRegistry(t, func(t *testing.T, host string) {
		client := newTestClient()
		subject := pushed(t, client, host)
		if got, err := attached(t, client, subject); !errors.Is(err, ErrNotAttached) || got != nil {
			t.Fatalf("before: %v, %v", got, err)
		}
		other := Artifact{Type: "application/spdx+json", MediaType: "application/spdx+json", Data: []byte("{}")}
		var want []Artifact
		for _, a := range []Artifact{signature("alice"), other, signature("bob"), signature("alice")} {
			a, err := client.Attach(t.Context(), subject, a)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, a)
		}
		if want[0].Digest != want[3].Digest {
			t.Errorf("the same artifact has two digests, %s and %s", want[0].Digest, want[3].Digest)
		}
		want = slices.Delete(want[:3], 1, 2)
		slices.SortFunc(want, func(a, b Artifact) int { return strings.Compare(a.Digest, b.Digest) })
		// As another client, which remembers nothing, finds them.
		got, err := attached(t, newTestClient(), subject)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		// An image of the index has none.
		images, err := client.Images(t.Context(), subject)
		if err != nil || len(images) != 2 {
			t.Fatal(images, err)
		}
		if got, err := attached(t, client, images[0]); !errors.Is(err, ErrNotAttached) {
			t.Errorf("image: %v, %v", got, err)
		}
	})
}

// TestArtifactManifest pins what cosign 3.1.3 writes and looks for.
func TestArtifactManifest(t *testing.T) {
	client := newTestClient()
	subject := pushed(t, client, ocitest.Registry(t, true))
	a, err := client.Attach(t.Context(), subject, signature("bundle"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.session(t.Context(), subject.repo, "pull")
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := s.manifest(t.Context(), subject.repo.Digest(a.Digest))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},`+
		`"layers":[{"mediaType":"%[1]s","size":6,"digest":"%[2]s"}],`+
		`"annotations":{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1","org.opencontainers.image.created":"2023-11-14T22:13:20Z"},`+
		`"subject":{"mediaType":"application/vnd.oci.image.index.v1+json","size":%[3]d,"digest":"%[4]s"},`+
		`"artifactType":"%[1]s"}`, bundleType, digest([]byte("bundle")), subject.size, subject.Digest())
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAttachAtOnce(t *testing.T) {
	const signers = 8
	for name, test := range map[string]struct {
		referrers bool
		clients   int
	}{
		"referrers API, a client each": {true, signers},
		"fallback tag, one client":     {false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			host := ocitest.Registry(t, test.referrers)
			clients := make([]*Client, test.clients)
			for i := range clients {
				clients[i] = newTestClient()
			}
			subject := pushed(t, clients[0], host)
			var wg sync.WaitGroup
			for i := range signers {
				wg.Go(func() {
					if _, err := clients[i%len(clients)].Attach(t.Context(), subject, signature(fmt.Sprint(i))); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			got, err := attached(t, clients[0], subject)
			if err != nil || len(got) != signers {
				t.Errorf("%d attached of %d, %v", len(got), signers, err)
			}
		})
	}
}

// TestAttachRepeatsWhenOverwritten: another writer puts its own list over ours,
// once.
func TestAttachRepeatsWhenOverwritten(t *testing.T) {
	registry := ocitest.Handler(false)
	var once sync.Once
	overwritten := false
	host := ocitest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		registry.ServeHTTP(w, r)
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-") {
			once.Do(func() {
				overwritten = true
				other := strings.NewReader(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
				again, err := http.NewRequestWithContext(r.Context(), http.MethodPut, r.URL.String(), other)
				if err != nil {
					t.Error(err)
				}
				again.Header.Set("Content-Type", string(types.OCIImageIndex))
				registry.ServeHTTP(discard{}, again)
			})
		}
	}))
	client := newTestClient()
	subject := pushed(t, client, host)
	if _, err := client.Attach(t.Context(), subject, signature("alice")); err != nil {
		t.Fatal(err)
	}
	if got, err := attached(t, client, subject); err != nil || len(got) != 1 || !overwritten {
		t.Errorf("%v, %v, overwritten %t", got, err, overwritten)
	}
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}

// TestAttachNotListed: a registry that takes the artifact and never lists it.
func TestAttachNotListed(t *testing.T) {
	host := ocitest.Serve(t, ocitest.Faulty(ocitest.Handler(true), func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIImageIndex))
		w.Write([]byte(`{"schemaVersion":2,"manifests":[]}`))
		return true
	}))
	client := newTestClient()
	if a, err := client.Attach(t.Context(), pushed(t, client, host), signature("alice")); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, %v", a, err)
	}
}

func TestAttachRefuses(t *testing.T) {
	client := newTestClient()
	subject := pushed(t, client, ocitest.Registry(t, true))
	for name, a := range map[string]Artifact{
		"no type":       {MediaType: bundleType, Data: []byte("x")},
		"no media type": {Type: bundleType, Data: []byte("x")},
		"no data":       {Type: bundleType, MediaType: bundleType},
		"too much":      {Type: bundleType, MediaType: bundleType, Data: make([]byte, 8<<20+1)},
	} {
		if got, err := client.Attach(t.Context(), subject, a); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v, %v", name, got.Digest, err)
		}
	}
}
