package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/ocitest"
)

// attached collects the signatures, sorted by digest, and the error at the end.
func attached(t testing.TB, c *Client, subject Subject) (all []Artifact, end error) {
	t.Helper()
	for a, err := range c.Attached(t.Context(), subject, bundleType) {
		if end != nil {
			t.Errorf("after %v: %v, %v", end, a, err)
		}
		if end = err; err == nil {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b Artifact) int { return strings.Compare(a.Digest, b.Digest) })
	return all, end
}

// put attaches a signature as somebody who may push and means no good; change
// changes its manifest.
func put(t *testing.T, subject Subject, data []byte, change func(*v1.Manifest)) v1.Hash {
	t.Helper()
	blob := static.NewLayer(data, bundleType)
	if err := remote.WriteLayer(subject.repo, blob); err != nil {
		t.Fatal(err)
	}
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: bundleType,
		Config:  v1.Descriptor{MediaType: types.OCIEmptyJSON, Size: 2, Digest: digest([]byte("{}"))},
		Layers:  []v1.Descriptor{{MediaType: bundleType, Size: int64(len(data)), Digest: digest(data)}},
		Subject: subject.descriptor(),
	}
	change(&m)
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	man := manifest{raw, bytesContent(types.OCIManifestSchema1, raw).desc}
	if err := remote.Put(subject.repo.Digest(man.desc.Digest.String()), man); err != nil {
		t.Fatal(err)
	}
	return man.desc.Digest
}

// TestAttachedAmongHostile: whoever may push cannot hide a good signature, and
// what he pushed is told when nobody took the good one.
func TestAttachedAmongHostile(t *testing.T) {
	large := bytes.Repeat([]byte("x"), limits.OCISmallArtifact+1)
	nothing := func(*v1.Manifest) {}
	for name, test := range map[string]struct {
		attack func(t *testing.T, subject Subject) (broken v1.Hash) // other bytes are served under this digest
		want   error
		says   string
	}{
		"blob larger than any": {func(t *testing.T, subject Subject) v1.Hash {
			put(t, subject, make([]byte, 9<<20), func(m *v1.Manifest) { m.Layers[0].Size = 10 })
			return v1.Hash{}
		}, ErrNotAttached, "answer of 9437184 bytes"},
		"blob larger than said": {func(t *testing.T, subject Subject) v1.Hash {
			put(t, subject, make([]byte, 1<<20), func(m *v1.Manifest) { m.Layers[0].Size = 10 })
			return v1.Hash{}
		}, ErrNotAttached, "does not have 10 bytes"},
		"blob of another digest": {func(t *testing.T, subject Subject) v1.Hash {
			put(t, subject, []byte("mallory"), nothing)
			return digest([]byte("mallory"))
		}, ErrNotAttached, "passed over sha256:"},
		"manifest of another digest": {func(t *testing.T, subject Subject) v1.Hash {
			return put(t, subject, []byte("mallory"), nothing)
		}, ErrNotAttached, "passed over sha256:"},
		"many": {func(t *testing.T, subject Subject) v1.Hash {
			for i := range 120 {
				put(t, subject, []byte("mallory"), func(m *v1.Manifest) {
					m.Layers = nil
					m.Annotations = map[string]string{"n": fmt.Sprint(i)}
				})
			}
			return v1.Hash{}
		}, ErrNotAttached, "passed over 112 more"},
		"heavy": {func(t *testing.T, subject Subject) v1.Hash {
			for i := range limits.OCIArtifacts/limits.OCIArtifact + 1 {
				put(t, subject, large, func(m *v1.Manifest) {
					m.Layers[0].Size = limits.OCIArtifact
					m.Annotations = map[string]string{"n": fmt.Sprint(i)}
				})
			}
			return v1.Hash{}
		}, ErrInvalid, "more than 268435456 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			var broken atomic.Value
			broken.Store("none")
			host := ocitest.Serve(t, ocitest.Faulty(ocitest.Handler(true), func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet || path.Base(r.URL.Path) != broken.Load() {
					return false
				}
				document(types.OCIManifestSchema1, "MALLORY")(w, r)
				return true
			}))
			client := newTestClient()
			subject := pushed(t, client, host)
			if _, err := client.Attach(t.Context(), subject, signature("alice")); err != nil {
				t.Fatal(err)
			}
			broken.Store(test.attack(t, subject).String())
			got, err := attached(t, client, subject)
			if len(got) != 1 || string(got[0].Data) != "alice" {
				t.Errorf("%d artifacts", len(got))
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) || len(err.Error()) > 3000 {
				t.Errorf("%v; want %v, %s", err, test.want, test.says)
			}
		})
	}
}

// TestAttachedSmallFirst: a large artifact is read last, and not at all by who has
// found what he looks for.
func TestAttachedSmallFirst(t *testing.T) {
	requests := &log{}
	client := newTestClient()
	subject := pushed(t, client, ocitest.Serve(t, ocitest.Faulty(ocitest.Handler(true), requests.fault)))
	var want []int
	for _, size := range []int{300_000, 100_000, 200_000, 5} {
		if _, err := client.Attach(t.Context(), subject, signature(strings.Repeat("x", size))); err != nil {
			t.Fatal(err)
		}
		want = append(want, size)
	}
	slices.Sort(want)
	var sizes []int
	for a, err := range client.Attached(t.Context(), subject, bundleType) {
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(a.Data))
	}
	if !slices.Equal(sizes, want) {
		t.Errorf("%v", sizes)
	}
	before := requests.count("GET /v2/app/blobs/")
	for range client.Attached(t.Context(), subject, bundleType) {
		break
	}
	if n := requests.count("GET /v2/app/blobs/") - before; n != 1 {
		t.Errorf("%d blobs were read for one artifact", n)
	}
}

// TestAttachedOrder: a few are opened in the same order each time, many are not,
// whatever the registry's order.
func TestAttachedOrder(t *testing.T) {
	for n, same := range map[int]bool{100: true, 101: false} {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`{"size":1,"digest":"sha256:%064x"}`, i))
		}
		slices.Reverse(list)
		var opened []string
		subject := pushedBehind(t, func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				opened = append(opened, path.Base(r.URL.Path))
				return status(w, http.StatusNotFound)
			}
			return answer("/referrers/", document(types.OCIImageIndex, `{"schemaVersion":2,"manifests":[`+strings.Join(list, ",")+`]}`))(w, r)
		})
		client := newTestClient()
		var orders [2][]string
		for i := range orders {
			opened = nil
			if _, err := attached(t, client, subject); !errors.Is(err, ErrNotAttached) {
				t.Fatal(err)
			}
			orders[i] = opened
		}
		if len(orders[0]) != n || len(orders[1]) != n || slices.Equal(orders[0], orders[1]) != same || slices.IsSorted(orders[0]) != same {
			t.Errorf("%d referrers: opened %d and %d, %v", n, len(orders[0]), len(orders[1]), orders)
		}
	}
}

// TestAttachedListLimit: what stands before the limit still counts.
func TestAttachedListLimit(t *testing.T) {
	var list atomic.Value
	list.Store("")
	host := ocitest.Serve(t, ocitest.Faulty(ocitest.Handler(true), func(w http.ResponseWriter, r *http.Request) bool {
		text := list.Load().(string)
		return text != "" && answer("/referrers/", document(types.OCIImageIndex, text))(w, r)
	}))
	client := newTestClient()
	subject := pushed(t, client, host)
	a, err := client.Attach(t.Context(), subject, signature("alice"))
	if err != nil {
		t.Fatal(err)
	}
	entries := []string{fmt.Sprintf(`{"size":900,"digest":%q}`, a.Digest)}
	for i := range limits.OCIReferrers {
		entries = append(entries, fmt.Sprintf(`{"size":99999,"digest":"sha256:%064x"}`, i))
	}
	list.Store(`{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`)
	got, err := attached(t, client, subject)
	if len(got) != 1 || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "more than 10000 referrers") {
		t.Errorf("%v, %v", got, err)
	}
}

// TestAttachedJudgesByContent: what others attach is passed over, and told when
// nothing good is left.
func TestAttachedJudgesByContent(t *testing.T) {
	eachRegistry(t, func(t *testing.T, host string) {
		client := newTestClient()
		subject := pushed(t, client, host)
		put := func(change func(*v1.Manifest)) { put(t, subject, []byte("alice"), change) }
		put(func(m *v1.Manifest) { m.Layers = nil })
		put(func(m *v1.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) })
		put(func(m *v1.Manifest) { m.Layers[0].Size = 9 << 20 })
		put(func(m *v1.Manifest) { m.Layers[0].Digest = digest([]byte("gone")) })
		put(func(m *v1.Manifest) { m.Layers[0].Size++ })
		put(func(m *v1.Manifest) { m.ArtifactType = "text/plain" })
		put(func(m *v1.Manifest) { m.Layers[0].Size-- })
		put(func(m *v1.Manifest) { m.Annotations = map[string]string{"x": strings.Repeat("x", 64<<10)} })
		_, err := attached(t, client, subject)
		if !errors.Is(err, ErrNotAttached) || strings.Count(fmt.Sprint(err), "passed over") != 7 {
			t.Errorf("bad ones alone: %v", err)
		}
		if errors.Is(err, ErrUnreachable) || errors.Is(err, ErrInvalid) {
			t.Errorf("bad ones look like a bad registry: %v", err)
		}

		if _, err := client.Attach(t.Context(), subject, signature("alice")); err != nil {
			t.Fatal(err)
		}
		// The type may stand in the configuration, as before OCI 1.1.
		put(func(m *v1.Manifest) { m.ArtifactType, m.Config.MediaType = "", bundleType })
		got, err := attached(t, client, subject)
		if !errors.Is(err, ErrNotAttached) || strings.Count(fmt.Sprint(err), "passed over") != 7 || len(got) != 2 || string(got[0].Data) != "alice" || string(got[1].Data) != "alice" {
			t.Errorf("among bad ones: %v, %v", got, err)
		}
		want := signature("alice")
		if !slices.ContainsFunc(got, func(a Artifact) bool { return cmp.Equal(a, want, cmpopts.IgnoreFields(a, "Digest")) }) {
			t.Errorf("got %v", got)
		}
	})
}

// TestAttachedToAnother: a signature of one image, listed for another.
func TestAttachedToAnother(t *testing.T) {
	var listed atomic.Value
	listed.Store("")
	host := ocitest.Serve(t, ocitest.Faulty(ocitest.Handler(true), func(w http.ResponseWriter, r *http.Request) bool {
		digest := listed.Load().(string)
		if digest == "" || !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIImageIndex))
		fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[{"digest":%q}]}`, digest)
		return true
	}))
	client := newTestClient()
	subject := pushed(t, client, host)
	a, err := client.Attach(t.Context(), subject, signature("alice"))
	if err != nil {
		t.Fatal(err)
	}
	images, err := client.Images(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	listed.Store(a.Digest)
	if got, err := attached(t, client, subject); err != nil || len(got) != 1 {
		t.Errorf("own: %v, %v", got, err)
	}
	got, err := attached(t, client, images[0])
	if !errors.Is(err, ErrNotAttached) || !strings.Contains(err.Error(), "another image") {
		t.Errorf("another's: %v, %v", got, err)
	}
}

// TestAttachedOfAnImageOfOthers: images that we did not build can be subjects.
func TestAttachedOfAnImageOfOthers(t *testing.T) {
	eachRegistry(t, func(t *testing.T, host string) {
		client := newTestClient()
		image, err := random.Image(1000, 2) // Docker's media types
		if err != nil {
			t.Fatal(err)
		}
		ref, err := parseReference(host + "/others:v1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			t.Fatal(err)
		}
		subject, err := client.Resolve(t.Context(), host+"/others:v1")
		if err != nil {
			t.Fatal(err)
		}
		if images, err := client.Images(t.Context(), subject); err != nil || images != nil {
			t.Errorf("an image has images: %v, %v", images, err)
		}
		if _, err := client.Attach(t.Context(), subject, signature("alice")); err != nil {
			t.Fatal(err)
		}
		if got, err := attached(t, client, subject); err != nil || len(got) != 1 {
			t.Errorf("%v, %v", got, err)
		}
	})
}
