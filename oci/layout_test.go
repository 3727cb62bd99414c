package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// writeTestLayout writes an image to a new folder.
func writeTestLayout(t testing.TB, o BuildOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	if err := WriteLayout(dir, build(t, o)); err != nil {
		t.Fatal(err)
	}
	return dir
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

// TestWriteLayout gives the same files wherever they go; that they are right,
// [read] has the library say.
func TestWriteLayout(t *testing.T) {
	image := build(t, options(t))
	fresh := filepath.Join(t.TempDir(), "fresh")
	empty := t.TempDir()
	other := writeTestLayout(t, BuildOptions{Inputs: []Input{{Platform: armv7}}})
	var want map[string]string
	for _, dir := range []string{fresh, fresh, empty + "/", other} {
		if err := WriteLayout(dir, image); err != nil {
			t.Fatal(err)
		}
		got := files(t, dir)
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, -want +got:\n%s", dir, diff)
		}
		alone(t, dir)
	}
}

// alone checks that nothing was left behind beside dir.
func alone(t testing.TB, dir string) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Clean(dir)), ".tmp-*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestWriteLayoutRefuses a folder with anything in it that is no part of a layout.
func TestWriteLayoutRefuses(t *testing.T) {
	image := build(t, options(t))
	index := "blobs/sha256/" + image.index().desc.Digest.Hex
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, spoil := range map[string]func(*testing.T, string){
		"file beside":     write("notes", ""),
		"folder beside":   write("notes/thesis", ""),
		"among blobs":     write("blobs/thesis", ""),
		"other hash":      write("blobs/sha512/"+strings.Repeat("0", 128), ""),
		"no digest":       write("blobs/sha256/thesis", ""),
		"unknown digest":  write("blobs/sha256/"+strings.Repeat("0", 64), ""),
		"folder as blob":  write("blobs/sha256/"+strings.Repeat("0", 64)+"/thesis", ""),
		"no mark":         remove("oci-layout"),
		"other mark":      write("oci-layout", "thesis"),
		"empty mark":      write("oci-layout", "{}"),
		"no index":        remove("index.json"),
		"other index":     write("index.json", "[]"),
		"empty index":     write("index.json", `{"schemaVersion":2,"manifests":[]}`),
		"index lost":      remove(index),
		"index changed":   write(index, `{"schemaVersion":2,"manifests":[]}`),
		"long index.json": write("index.json", `{"schemaVersion":2,"manifests":[]}`+strings.Repeat(" ", 5<<20)),
		"link": func(t *testing.T, dir string) {
			outside := filepath.Join(t.TempDir(), "index")
			if err := errors.Join(os.Rename(filepath.Join(dir, index), outside), os.Symlink(outside, filepath.Join(dir, index))); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeTestLayout(t, options(t))
			spoil(t, dir)
			refusesLayout(t, dir, image)
		})
	}
	parent := t.TempDir()
	precious := filepath.Join(parent, "home")
	for _, name := range []string{"oci-layout", "index.json", "blobs/thesis"} { // the names are not enough
		write(name, "{}")(t, precious)
	}
	refusesLayout(t, precious, image)
	if err := WriteLayout(filepath.Join(precious, "index.json"), image); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("over a file: %v", err)
	}
	if err := WriteLayout(filepath.Join(parent, "no", "such"), image); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a parent: %v", err)
	}
}

// refusesLayout checks that a folder is refused, with advice, and left as it was.
func refusesLayout(t *testing.T, dir string, image *Image) {
	t.Helper()
	before := files(t, dir)
	if err := WriteLayout(dir, image); !errors.Is(err, ErrUsage) || len(hint.Of(err)) != 1 {
		t.Error(err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("changed, -before +after:\n%s", diff)
	}
	alone(t, dir)
}

// TestWriteLayoutReplacesOthers: layouts by the registry library, with Docker's
// media types and an image that index.json names itself.
func TestWriteLayoutReplacesOthers(t *testing.T) {
	image, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(100, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	theirs, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(theirs.AppendImage(image), theirs.AppendIndex(index)); err != nil {
		t.Fatal(err)
	}
	if err := WriteLayout(dir, build(t, options(t))); err != nil {
		t.Error(err)
	}
}

// TestWriteLayoutFails half-way: the old layout stays, nothing is left behind.
func TestWriteLayoutFails(t *testing.T) {
	dir := writeTestLayout(t, options(t))
	before := files(t, dir)
	for name, test := range map[string]struct {
		write func() error
		want  error
	}{
		"wrong content": {func() error {
			image := build(t, options(t))
			image.contents[0].desc.Size++ // what the layer is not
			return WriteLayout(dir, image)
		}, ErrInvalid},
		"second rename": {func() error {
			return replace(dir, filepath.Join(filepath.Dir(dir), ".tmp-gone"))
		}, fs.ErrNotExist},
	} {
		if err := test.write(); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before, files(t, dir)); diff != "" {
			t.Errorf("%s: changed, -before +after:\n%s", name, diff)
		}
		alone(t, dir)
	}
}
