package oci

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// writeTestLayout writes the small image to a new folder.
func writeTestLayout(t testing.TB) (dir string, digest string) {
	t.Helper()
	image := build(t, options(t))
	dir = filepath.Join(t.TempDir(), "layout")
	if err := WriteLayout(dir, image); err != nil {
		t.Fatal(err)
	}
	return dir, image.Digest()
}

// files lists the files below dir with their content.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	dir = filepath.Clean(dir)
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestLayoutRoundTrip(t *testing.T) {
	dir, digest := writeTestLayout(t)
	image, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if image.Digest() != digest {
		t.Errorf("read %s, wrote %s", image.Digest(), digest)
	}
	want := files(t, dir)
	again := filepath.Join(t.TempDir(), "again")
	// Over a folder that is empty, over another layout, over its own source.
	if err := os.Mkdir(again, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{again, again + "/", dir} {
		if err := WriteLayout(target, image); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, files(t, target)); diff != "" {
			t.Errorf("%s, -want +got:\n%s", target, diff)
		}
		if left, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Clean(target)), ".tmp-*")); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

func TestWriteLayoutRefuses(t *testing.T) {
	image := build(t, options(t))
	parent := t.TempDir()
	precious := filepath.Join(parent, "home")
	layoutAndMore, _ := writeTestLayout(t)
	for _, file := range []string{filepath.Join(precious, "thesis"), filepath.Join(layoutAndMore, "notes")} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{precious, layoutAndMore} {
		before := files(t, dir)
		if err := WriteLayout(dir, image); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", dir, err)
		}
		if diff := cmp.Diff(before, files(t, dir)); diff != "" {
			t.Errorf("changed, -before +after:\n%s", diff)
		}
	}
	if err := WriteLayout(filepath.Join(precious, "thesis"), image); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("over a file: %v", err)
	}
	if err := WriteLayout(filepath.Join(parent, "no", "such"), image); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a parent: %v", err)
	}
}

// TestWriteLayoutFails half-way: the old layout stays, nothing is left behind.
func TestWriteLayoutFails(t *testing.T) {
	dir, _ := writeTestLayout(t)
	before := files(t, dir)
	image := build(t, options(t))
	image.contents[0].desc.Size++ // what the layer is not
	if err := WriteLayout(dir, image); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("changed, -before +after:\n%s", diff)
	}
	if entries, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestOpenLayoutRefuses(t *testing.T) {
	index := func(change func(*v1.IndexManifest)) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, layoutIndex)
			var m v1.IndexManifest
			raw, err := os.ReadFile(path)
			if err = errors.Join(err, json.Unmarshal(raw, &m)); err != nil {
				t.Fatal(err)
			}
			change(&m)
			if raw, err = json.Marshal(m); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(name, text string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]func(t *testing.T, dir string){
		"other mark":      write(layoutFile, `{"imageLayoutVersion":"2.0.0"}`),
		"index not JSON":  write(layoutIndex, "index"),
		"huge index":      write(layoutIndex, strings.Repeat(" ", 5<<20)),
		"no images":       index(func(m *v1.IndexManifest) { m.Manifests = nil }),
		"two images":      index(func(m *v1.IndexManifest) { m.Manifests = append(m.Manifests, m.Manifests[0]) }),
		"not an index":    index(func(m *v1.IndexManifest) { m.Manifests[0].MediaType = "text/plain" }),
		"wrong size":      index(func(m *v1.IndexManifest) { m.Manifests[0].Size-- }),
		"negative size":   index(func(m *v1.IndexManifest) { m.Manifests[0].Size = -1 }),
		"huge size":       index(func(m *v1.IndexManifest) { m.Manifests[0].Size = 1 << 40 }),
		"no digest":       index(func(m *v1.IndexManifest) { m.Manifests[0].Digest = v1.Hash{} }),
		"digest is a way": write(layoutIndex, `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","size":2,"digest":"sha256:../../oci-layout"}]}`),
	}
	sound, _ := writeTestLayout(t)
	blobs := 0
	for path := range files(t, sound) {
		tests["without"+path] = func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, path)) }
		if !strings.HasPrefix(path, "/blobs/") {
			continue
		}
		blobs++
		tests["flipped bit in"+path] = func(t *testing.T, dir string) {
			raw, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)/2] ^= 1
			write(path, string(raw))(t, dir)
		}
		tests["longer"+path] = func(t *testing.T, dir string) {
			raw, err := os.ReadFile(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			write(path, string(raw)+"\n")(t, dir)
		}
		tests["link for"+path] = func(t *testing.T, dir string) {
			to := filepath.Join(t.TempDir(), "blob")
			if err := errors.Join(os.Rename(filepath.Join(dir, path), to), os.Symlink(to, filepath.Join(dir, path))); err != nil {
				t.Fatal(err)
			}
		}
		tests["pipe for"+path] = func(t *testing.T, dir string) {
			if err := errors.Join(os.Remove(filepath.Join(dir, path)), syscall.Mkfifo(filepath.Join(dir, path), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if blobs != 7 {
		t.Fatalf("%d blobs in the layout", blobs)
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(sound)); err != nil {
				t.Fatal(err)
			}
			spoil(t, dir)
			want := ErrInvalid
			if strings.HasPrefix(name, "without") {
				want = fs.ErrNotExist
			}
			if image, err := OpenLayout(dir); !errors.Is(err, want) {
				t.Errorf("got %v, %v; want %v", image, err, want)
			}
		})
	}
}
