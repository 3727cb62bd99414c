package oci

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
)

// smallFiles writes the sources to a new folder.
func smallFiles(t testing.TB) []File {
	t.Helper()
	return []File{
		{Path: "/usr/bin/app", Source: writeFile(t, "program"), Executable: true},
		{Path: "usr/share/app/data", Source: writeFile(t, strings.Repeat("data\n", 1000))},
		{Path: "/etc/passwd", data: []byte(passwd)},
		{Path: "/usr.txt", Source: writeFile(t, "")},
	}
}

func newTestLayer(t testing.TB, files []File, epoch time.Time) *layer {
	t.Helper()
	l, err := newLayer(t.Context(), files, epoch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLayerIsReproducible(t *testing.T) {
	epoch := time.Unix(1_700_000_000, 0).UTC()
	want := newTestLayer(t, smallFiles(t), epoch)
	// The digest before compression is a promise to those who rebuild; that of
	// the compressed layer may change with the compressor.
	const diffID = "sha256:4f8745f73178ba1993a4dd62f8aeed7eb88c2547749a2b74cb930947a9c22628"
	if got := want.diffID.String(); got != diffID {
		t.Errorf("diff ID %s, want %s", got, diffID)
	}
	for name, change := range map[string]func(files []File) (_ []File, at time.Time){
		"same": func(files []File) ([]File, time.Time) { return files, epoch },
		"other order": func(files []File) ([]File, time.Time) {
			slices.Reverse(files)
			return files, epoch
		},
		"other permissions and times": func(files []File) ([]File, time.Time) {
			for _, f := range files {
				if f.Source == "" {
					continue
				}
				if err := errors.Join(os.Chmod(f.Source, 0o777), os.Chtimes(f.Source, time.Time{}, time.Unix(1, 0))); err != nil {
					t.Fatal(err)
				}
			}
			return files, epoch
		},
		"other umask": func(files []File) ([]File, time.Time) {
			old := syscall.Umask(0o077)
			t.Cleanup(func() { syscall.Umask(old) })
			return smallFiles(t), epoch
		},
		"other time zone": func(files []File) ([]File, time.Time) {
			old := time.Local
			time.Local = time.FixedZone("elsewhere", 5*3600+1800)
			t.Cleanup(func() { time.Local = old })
			return files, epoch.Local()
		},
		"through a link": func(files []File) ([]File, time.Time) {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(files[0].Source, link); err != nil {
				t.Fatal(err)
			}
			files[0].Source = link
			return files, epoch
		},
	} {
		t.Run(name, func(t *testing.T) {
			files, at := change(smallFiles(t))
			if got := newTestLayer(t, files, at); got.desc.Digest != want.desc.Digest || got.diffID != want.diffID {
				t.Errorf("digest %s, diff ID %s; want %s, %s", got.desc.Digest, got.diffID, want.desc.Digest, want.diffID)
			}
		})
	}
	if other := newTestLayer(t, smallFiles(t), epoch.Add(time.Second)); other.diffID == want.diffID {
		t.Error("another time gives the same layer")
	}
}

func TestLayerArchive(t *testing.T) {
	epoch := time.Unix(1_700_000_000, 0).UTC()
	l := newTestLayer(t, smallFiles(t), epoch)
	compressed, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(compressed)
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		Name  string
		Type  byte
		Mode  int64
		Size  int64
		Owner string
	}
	var got []entry
	for archive := tar.NewReader(plain); ; {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(epoch) || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() || h.Uid != 0 || h.Gid != 0 || len(h.PAXRecords) != 0 {
			t.Errorf("%s: %+v", h.Name, h)
		}
		got = append(got, entry{h.Name, h.Typeflag, h.Mode, h.Size, h.Uname + h.Gname})
	}
	want := []entry{
		{"etc/", tar.TypeDir, 0o755, 0, ""},
		{"etc/passwd", tar.TypeReg, 0o644, int64(len(passwd)), ""},
		{"usr.txt", tar.TypeReg, 0o644, 0, ""},
		{"usr/", tar.TypeDir, 0o755, 0, ""},
		{"usr/bin/", tar.TypeDir, 0o755, 0, ""},
		{"usr/bin/app", tar.TypeReg, 0o755, 7, ""},
		{"usr/share/", tar.TypeDir, 0o755, 0, ""},
		{"usr/share/app/", tar.TypeDir, 0o755, 0, ""},
		{"usr/share/app/data", tar.TypeReg, 0o644, 5000, ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLayerRefuses(t *testing.T) {
	source := writeFile(t, "x")
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	at := func(paths ...string) (files []File) {
		for _, p := range paths {
			files = append(files, File{Path: p, Source: source})
		}
		return files
	}
	for name, test := range map[string]struct {
		files []File
		want  error
	}{
		"empty path":        {at(""), ErrUsage},
		"the root":          {at("/"), ErrUsage},
		"dots":              {at("/usr/../etc/shadow"), ErrUsage},
		"two slashes":       {at("//etc/shadow"), ErrUsage},
		"folder":            {at("/usr/"), ErrUsage},
		"not UTF-8":         {at("/\xff"), ErrUsage},
		"control character": {at("/a\nb"), ErrUsage},
		"whiteout":          {at("/usr/.wh.bin"), ErrUsage},
		"opaque whiteout":   {at(".wh..wh..opq"), ErrUsage},
		"twice":             {at("/a", "a"), ErrUsage},
		"file and folder":   {at("/a/b", "/a"), ErrUsage},
		"missing source":    {[]File{{Path: "/a", Source: filepath.Join(temp, "missing")}}, os.ErrNotExist},
		"folder as source":  {[]File{{Path: "/a", Source: t.TempDir()}}, ErrUsage},
		"pipe as source":    {[]File{{Path: "/a", Source: pipe}}, ErrUsage},
	} {
		t.Run(name, func(t *testing.T) {
			if l, err := newLayer(t.Context(), test.files, time.Unix(0, 0)); !errors.Is(err, test.want) {
				t.Errorf("got %v, %v; want %v", l, err, test.want)
			}
		})
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newLayer(canceled, at("/a"), time.Unix(0, 0)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("temporary files left: %v, %v", left, err)
	}
}

func TestLargeLayerNeedsLittleMemory(t *testing.T) {
	const size = 64 << 20
	path := writeFile(t, "")
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l := newTestLayer(t, []File{{Path: "/big", Source: path}}, time.Unix(0, 0))
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > size/8 {
		t.Errorf("allocated %d bytes for a file of %d", used, size)
	}
	if l.desc.Size == 0 || l.desc.Size > size/100 {
		t.Errorf("layer of %d bytes", l.desc.Size)
	}
}
