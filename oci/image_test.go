package oci

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// read writes the image to a layout and reads it with the library, which checks
// all that it can.
func read(t testing.TB, i *Image) v1.ImageIndex {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if err := WriteLayout(dir, i); err != nil {
		t.Fatal(err)
	}
	top, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(top); err != nil {
		t.Fatal(err)
	}
	list, err := top.IndexManifest()
	if err != nil || len(list.Manifests) != 1 || list.Manifests[0].Digest.String() != i.Digest() {
		t.Fatalf("layout names %+v, %v; want %s", list, err, i.Digest())
	}
	index, err := top.ImageIndex(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestBuild(t *testing.T) {
	index := read(t, build(t, options(t)))
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	annotations := map[string]string{
		"org.opencontainers.image.created":  "2023-11-14T22:13:20Z",
		"org.opencontainers.image.title":    "app",
		"org.opencontainers.image.source":   "https://example.org/app",
		"org.opencontainers.image.revision": "0123abcd",
		"org.opencontainers.image.version":  "v1.2.3",
		"org.opencontainers.image.licenses": "Apache-2.0",
	}
	if diff := cmp.Diff(annotations, manifest.Annotations); diff != "" {
		t.Errorf("index annotations, -want +got:\n%s", diff)
	}
	var platforms []string
	for _, d := range manifest.Manifests {
		platforms = append(platforms, d.Platform.String())
		clean := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: d.Size, Digest: d.Digest, Platform: d.Platform}
		if diff := cmp.Diff(clean, d); diff != "" {
			t.Errorf("descriptor, -want +got:\n%s", diff)
		}
		image, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		m, err := image.Manifest()
		if err != nil || len(m.Layers) != 1 || !cmp.Equal(m.Annotations, annotations) {
			t.Fatalf("manifest %+v, %v", m, err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		epoch := v1.Time{Time: time.Unix(1_700_000_000, 0).UTC()}
		want := &v1.ConfigFile{
			OS: "linux", Architecture: d.Platform.Architecture, Created: epoch,
			Config: v1.Config{
				User: "65532:65532", Entrypoint: []string{"/usr/bin/app", "serve"}, WorkingDir: "/",
				Env:    []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
				Labels: annotations,
			},
			RootFS:  v1.RootFS{Type: "layers", DiffIDs: config.RootFS.DiffIDs}, // checked by validate
			History: []v1.History{{Created: epoch, CreatedBy: "sealsmith image build"}},
		}
		if diff := cmp.Diff(want, config); diff != "" {
			t.Errorf("config, -want +got:\n%s", diff)
		}
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(platforms, want) {
		t.Errorf("platforms %v, want %v", platforms, want)
	}
}

func TestBuildIsReproducible(t *testing.T) {
	want := build(t, options(t)).Digest()
	for name, change := range map[string]func(o *BuildOptions){
		"another folder":      func(*BuildOptions) {},
		"another order":       func(o *BuildOptions) { slices.Reverse(o.Inputs) },
		"another time zone":   func(o *BuildOptions) { o.Epoch = o.Epoch.In(time.FixedZone("elsewhere", -7*3600)) },
		"part of a second":    func(o *BuildOptions) { o.Epoch = o.Epoch.Add(999 * time.Millisecond) },
		"monotonic clock":     func(o *BuildOptions) { now := time.Now(); o.Epoch = now.Add(o.Epoch.Sub(now)) },
		"temporary elsewhere": func(*BuildOptions) { t.Setenv("TMPDIR", t.TempDir()) },
	} {
		o := options(t)
		change(&o)
		if got := build(t, o).Digest(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for name, change := range map[string]func(o *BuildOptions){
		"time":       func(o *BuildOptions) { o.Epoch = time.Time{} },
		"entrypoint": func(o *BuildOptions) { o.Entrypoint = nil },
		"label":      func(o *BuildOptions) { o.Labels.Version = "v1.2.4" },
		"platform":   func(o *BuildOptions) { o.Inputs[0].Platform = armv7 },
		"file":       func(o *BuildOptions) { o.Inputs[0].Files[1].Executable = true },
	} {
		o := options(t)
		change(&o)
		if build(t, o).Digest() == want {
			t.Errorf("another %s gives the same digest", name)
		}
	}
}

func TestBuildSharesEqualLayers(t *testing.T) {
	source := writeFile(t, "same everywhere")
	var inputs []Input
	for _, p := range []Platform{amd64, armv7} {
		inputs = append(inputs, Input{p, []File{{Path: "/data", Source: source}}})
	}
	image := build(t, BuildOptions{Inputs: inputs})
	read(t, image)
	var kinds []string
	for _, c := range image.contents {
		kinds = append(kinds, strings.TrimPrefix(string(c.desc.MediaType), "application/vnd.oci.image."))
	}
	want := []string{
		"layer.v1.tar+gzip", "config.v1+json", "manifest.v1+json", "config.v1+json", "manifest.v1+json", "index.v1+json",
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("contents, -want +got:\n%s", diff)
	}
}

func TestBuildRefuses(t *testing.T) {
	file := []File{{Path: "/a", Source: writeFile(t, "x")}}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	before1970, after9999 := time.Unix(-1, 0), time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, o := range map[string]BuildOptions{
		"no input":         {},
		"platform twice":   {Inputs: []Input{{amd64, file}, {amd64, file}}},
		"unknown platform": {Inputs: []Input{{Platform{"plan9", "amd64", ""}, file}}},
		"no platform":      {Inputs: []Input{{Platform{}, file}}},
		"before 1970":      {Inputs: []Input{{amd64, file}}, Epoch: before1970},
		"after 9999":       {Inputs: []Input{{amd64, file}}, Epoch: after9999},
		"our passwd":       {Inputs: []Input{{amd64, []File{{Path: "/etc/passwd", Source: file[0].Source}}}}},
		"one bad layer":    {Inputs: []Input{{amd64, file}, {arm64, []File{{Path: ".."}}}}},
	} {
		if image, err := Build(t.Context(), o); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: got %v, %v", name, image, err)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
}

func TestPlatform(t *testing.T) {
	for _, p := range platforms {
		if got, err := ParsePlatform(p.String()); err != nil || got != p {
			t.Errorf("%s: %v, %v", p, got, err)
		}
	}
	for _, text := range []string{"", "linux", "linux/arm", "linux/amd64/", "Linux/amd64", "linux/amd64/v3", "windows/amd64"} {
		if got, err := ParsePlatform(text); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	raw, err := json.Marshal(armv7.descriptor())
	if want := `{"architecture":"arm","os":"linux","variant":"v7"}`; err != nil || string(raw) != want {
		t.Errorf("%s, %v; want %s", raw, err, want)
	}
}
