package oci

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/sealsmith/sealsmith/internal/ocitest"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// log remembers the requests that a registry gets.
type log struct {
	mu       sync.Mutex
	requests []string
}

func (l *log) fault(_ http.ResponseWriter, r *http.Request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests = append(l.requests, r.Method+" "+r.URL.Path)
	return false
}

// count tells how many requests contain the text.
func (l *log) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.requests {
		if strings.Contains(r, text) {
			n++
		}
	}
	return n
}

func TestPush(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers=%t", referrers), func(t *testing.T) {
			requests := &log{}
			host := ocitest.Serve(t, ocitest.Faulty(ocitest.Handler(referrers), requests.fault))
			image := build(t, options(t))
			client := newTestClient()
			var dones []int64
			subject, err := client.Push(t.Context(), host+"/team/app:v1", image, func(done, total int64) {
				if dones = append(dones, done); done > total {
					t.Errorf("%d of %d", done, total)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if want := host + "/team/app@" + image.Digest(); subject.String() != want || subject.Digest() != image.Digest() || subject.Repository() != host+"/team/app" {
				t.Errorf("pushed %s, want %s", subject, want)
			}
			if !slices.IsSorted(dones) || dones[len(dones)-1] != total(image) {
				t.Errorf("progress %v of %d", dones, total(image))
			}
			if last := requests.requests[len(requests.requests)-1]; last != "PUT /v2/team/app/manifests/v1" {
				t.Errorf("last request is %s, not the tag", last)
			}
			validatePushed(t, subject)

			sent := requests.count("PATCH")
			if again, err := client.Push(t.Context(), host+"/team/app:v1", image, nil); err != nil || again != subject {
				t.Errorf("again: %v, %v", again, err)
			}
			if requests.count("PATCH") != sent {
				t.Error("blobs were sent twice")
			}
		})
	}
}

func total(i *Image) (sum int64) {
	for _, c := range i.contents {
		sum += c.desc.Size
	}
	return sum
}

// validatePushed lets the library check all that it can.
func validatePushed(t *testing.T, subject Subject) {
	t.Helper()
	ref, err := name.NewDigest(subject.String())
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
}

func TestPushWithoutTag(t *testing.T) {
	requests := &log{}
	host := ocitest.Serve(t, ocitest.Faulty(ocitest.Handler(true), requests.fault))
	client := newTestClient()
	subject, err := client.Push(t.Context(), host+"/app", build(t, options(t)), nil)
	if err != nil {
		t.Fatal(err)
	}
	if puts, digests := requests.count("PUT /v2/app/manifests/"), requests.count("PUT /v2/app/manifests/sha256:"); puts != 3 || digests != puts {
		t.Errorf("%d manifests put, %d by digest", puts, digests)
	}
	if resolved, err := client.Resolve(t.Context(), subject.String()); err != nil || resolved != subject {
		t.Errorf("resolved %v, %v; want %v", resolved, err, subject)
	}
}

// TestPushFailsBeforeTheTag: whatever fails, the tag does not name half an image.
func TestPushFailsBeforeTheTag(t *testing.T) {
	image := build(t, options(t))
	child := image.contents[2].desc.Digest.String()
	for name, test := range map[string]struct {
		fault ocitest.Fault
		want  error
	}{
		"blob refused": {func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPost && status(w, http.StatusForbidden)
		}, ErrDenied},
		"blob corrupted": {func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/uploads/") && status(w, http.StatusBadRequest)
		}, ErrInvalid},
		"manifest refused": {func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, child) && status(w, http.StatusRequestEntityTooLarge)
		}, ErrInvalid},
		"manifest lost": {func(w http.ResponseWriter, r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, image.Digest()) && status(w, http.StatusCreated)
		}, ErrNotFound},
		"other manifest read back": {func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, child) {
				return false
			}
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Write([]byte(`{}`))
			return true
		}, ErrInvalid},
		"other media type read back": {func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, child) {
				return false
			}
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			raw, err := image.contents[2].read()
			if err != nil {
				t.Error(err)
			}
			w.Write(raw)
			return true
		}, ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			requests := &log{}
			host := ocitest.Serve(t, ocitest.Faulty(ocitest.Faulty(ocitest.Handler(true), test.fault), requests.fault))
			if _, err := newTestClient().Push(t.Context(), host+"/app:v1", image, nil); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if requests.count("/manifests/v1") != 0 {
				t.Error("the tag was written")
			}
		})
	}
}

func status(w http.ResponseWriter, code int) bool {
	w.WriteHeader(code)
	return true
}

func TestPushTo(t *testing.T) {
	image := build(t, options(t))
	for _, ref := range []string{
		"", "app", "app:v1", "team/app:v1", "https://example.org/app:v1", "example.org/App:v1", "example.org/app:v 1",
		"example.org/app:", "example.org/app@" + image.Digest(), "example.org/app:v1@" + image.Digest(),
		"example.org/" + strings.Repeat("a", 1000), "example.org/a\x00:v1",
	} {
		if subject, err := newTestClient().Push(t.Context(), ref, image, nil); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %v, %v", ref, subject, err)
		}
	}
}

// TestCraneReadsOurImages is the second opinion of another program.
func TestCraneReadsOurImages(t *testing.T) {
	crane := testenv.Need(t, testenv.Crane)
	host := ocitest.Registry(t, false)
	image := build(t, options(t))
	subject, err := newTestClient().Push(t.Context(), host+"/app:v1", image, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	if err := WriteLayout(dir, image); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"validate", "--remote", subject.String()},
		{"validate", "--remote", host + "/app:v1"},
		{"push", "--index", dir, host + "/fromlayout:v1"},
		{"validate", "--remote", host + "/fromlayout@" + subject.Digest()},
	} {
		if out, err := exec.CommandContext(t.Context(), crane, args...).CombinedOutput(); err != nil {
			t.Errorf("crane %v: %v\n%s", args, err, out)
		}
	}
	out, err := exec.CommandContext(t.Context(), crane, "export", "--platform", "linux/arm64", host+"/app:v1", filepath.Join(t.TempDir(), "files.tar")).CombinedOutput()
	if err != nil {
		t.Errorf("crane export: %v\n%s", err, out)
	}
}

// BenchmarkPush builds an image of a program of this size for two platforms and
// pushes it to a new repository of a registry in memory.
func BenchmarkPush(b *testing.B) {
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(program)
	if err != nil {
		b.Fatal(err)
	}
	data := writeFile(b, "makes the layers differ")
	o := BuildOptions{Inputs: []Input{
		{amd64, []File{{Path: "/app", Source: program, Executable: true}}},
		{arm64, []File{{Path: "/app", Source: program, Executable: true}, {Path: "/data", Source: data}}},
	}}
	client := newTestClient()
	b.SetBytes(2 * info.Size())
	b.ReportAllocs()
	for b.Loop() {
		image, err := Build(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := client.Push(b.Context(), ocitest.Registry(b, true)+"/app:v1", image, nil); err != nil {
			b.Fatal(err)
		}
		if err := image.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
