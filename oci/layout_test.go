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

func TestWriteLayoutRefuses(t *testing.T) {
	image := build(t, options(t))
	parent := t.TempDir()
	precious := filepath.Join(parent, "home")
	layoutAndMore := writeTestLayout(t, options(t))
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
