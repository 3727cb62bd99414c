package oci

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// FuzzManifest: what is accepted as one kind is not accepted as the other, and
// what we understood of it, written out, is understood the same.
func FuzzManifest(f *testing.F) {
	image, err := Build(f.Context(), options(f))
	if err != nil {
		f.Fatal(err)
	}
	defer image.Close()
	for _, c := range image.contents {
		raw, err := c.read()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for _, seed := range []string{
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":null,"subject":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"artifactType":"a/b"}`,
		`{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":1,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","urls":["x"],"data":"AA==","platform":{}}],"annotations":{"a":"b"}}`,
		`{"schemaVersion":2,"Manifests":[],"config":{}}`,
		`{"schemaVersion":2,"manifests":[],"manifests":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		index, indexErr := parseIndex(raw)
		manifest, manifestErr := parseManifest(raw)
		switch {
		case indexErr == nil && manifestErr == nil:
			t.Fatalf("both an index and a manifest: %q", raw)
		case indexErr == nil:
			again, err := json.Marshal(index)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := parseIndex(again); err != nil || !cmp.Equal(index, back, cmpopts.EquateEmpty()) {
				t.Fatalf("%q became %q: %v", raw, again, err)
			}
		case manifestErr == nil:
			again, err := json.Marshal(manifest)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := parseManifest(again); err != nil || !cmp.Equal(manifest, back, cmpopts.EquateEmpty()) {
				t.Fatalf("%q became %q: %v", raw, again, err)
			}
		case !errors.Is(indexErr, ErrInvalid) || !errors.Is(manifestErr, ErrInvalid):
			t.Fatalf("%v, %v", indexErr, manifestErr)
		}
	})
}

// FuzzReferrers: a list yields well-formed digests only, and the same ones when it
// holds nothing else.
func FuzzReferrers(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"size":7,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},{"digest":"sha384:00"},{}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		found, err := parseReferrers(raw)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		list := v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{}}
		for _, r := range found {
			if again, err := v1.NewHash(r.digest.String()); err != nil || again != r.digest || !isSHA256(r.digest) {
				t.Errorf("digest %q: %v", r.digest, err)
			}
			list.Manifests = append(list.Manifests, v1.Descriptor{Digest: r.digest, Size: r.size})
		}
		again, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseReferrers(again); err != nil || !slices.Equal(found, back) {
			t.Errorf("%v became %v, %v", found, back, err)
		}
	})
}

// FuzzLink: the target that is found is found again where nothing else stands.
func FuzzLink(f *testing.F) {
	f.Add(`<https://example.org/v2/app/referrers/sha256:00?n=1&last=2>; rel="next"`)
	f.Add(`</a,b>; rel=first, </c>; title="x, y"; REL = next,<d>`)
	f.Add(`<>; rel=next`)
	f.Fuzz(func(t *testing.T, header string) {
		target := nextLink([]string{"garbage", header})
		if again := nextLink([]string{"<" + target + ">; rel=\"next\""}); target != again {
			t.Errorf("%q in %q, %q alone", target, header, again)
		}
	})
}

func TestNextLink(t *testing.T) {
	for header, want := range map[string]string{
		"":                                       "",
		`</a>`:                                   "",
		`</a>; rel=next`:                         "/a",
		`</a>; rel="next"`:                       "/a",
		`</a>; rel="prev", </b>; rel="next"`:     "/b",
		`</a>;n=1;REL=next`:                      "/a",
		`</a,b>; rel="next"`:                     "/a,b",
		`</a>; rel="nextish"`:                    "",
		`</a; rel="next"`:                        "",
		`/a; rel="next"`:                         "",
		`<http://[::1]/a?b=c&d=<e>; rel="next"`:  "http://[::1]/a?b=c&d=<e",
		`</a>; rel="first", junk, </b>;rel=next`: "/b",
	} {
		if got := nextLink([]string{header}); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
