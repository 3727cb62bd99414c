package oci

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
)

// gzipLevel is the best of the levels that cost little: a third of the time of
// the standard library's same level, for one percent more bytes.
const gzipLevel = 6

// File is one file of an image.
type File struct {
	// Path is where it stands in the image: "/usr/bin/app". The folders above
	// it are made.
	Path string
	// Source is a regular file on disk, or a link to one. Its owner, time and
	// permissions do not count.
	Source string
	// Executable makes the permissions 0755; otherwise they are 0644.
	Executable bool

	data []byte // instead of Source
}

// layer is a compressed tar archive in a temporary file, written in one pass.
type layer struct {
	file   *os.File
	desc   v1.Descriptor
	diffID v1.Hash // digest of the archive before compression
}

// newLayer writes the files as a layer whose bytes depend on nothing else than
// their contents, paths and permissions and on the epoch.
func newLayer(ctx context.Context, files []File, epoch time.Time) (_ *layer, err error) {
	nodes, err := tree(files)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "sealsmith-layer-*")
	if err != nil {
		return nil, err
	}
	l := &layer{file: file}
	defer func() {
		if err != nil {
			l.Close()
		}
	}()

	buffer := bufio.NewWriterSize(file, 64<<10)
	compressed := &summer{hash: sha256.New(), next: buffer}
	zip, err := gzip.NewWriterLevel(compressed, gzipLevel)
	if err != nil {
		return nil, err
	}
	plain := &summer{hash: sha256.New(), next: zip}
	archive := tar.NewWriter(plain)
	for _, n := range nodes {
		if err := n.write(ctx, archive, epoch); err != nil {
			return nil, fmt.Errorf("layer file %q: %w", n.name, err)
		}
	}
	for _, finish := range []func() error{archive.Close, zip.Close, buffer.Flush} {
		if err := finish(); err != nil {
			return nil, fmt.Errorf("write layer: %w", err)
		}
	}
	l.desc = v1.Descriptor{MediaType: types.OCILayer, Size: compressed.size, Digest: compressed.digest()}
	l.diffID = plain.digest()
	return l, nil
}

// open reads the compressed layer from its beginning; any number of readers may
// do so at once.
func (l *layer) open() (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(l.file, 0, l.desc.Size)), nil
}

// Close removes the temporary file.
func (l *layer) Close() error {
	return errors.Join(l.file.Close(), os.Remove(l.file.Name()))
}

// summer passes bytes on and remembers their number and SHA-256.
type summer struct {
	next io.Writer
	hash hash.Hash
	size int64
}

func (s *summer) Write(p []byte) (int, error) {
	n, err := s.next.Write(p)
	s.hash.Write(p[:n])
	s.size += int64(n)
	return n, err
}

func (s *summer) digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(s.hash.Sum(nil))}
}

// node is an entry of a layer: a file, or a folder whose name ends in a slash.
type node struct {
	name string
	file *File // nil for a folder
}

// tree lists the files and the folders above them, sorted by name, which puts
// parents first.
func tree(files []File) ([]node, error) {
	nodes := map[string]node{}
	for _, f := range files {
		name, err := imagePath(f.Path)
		if err != nil {
			return nil, err
		}
		if _, twice := nodes[name]; twice {
			return nil, fmt.Errorf("file %.200q is given twice: %w", f.Path, ErrUsage)
		}
		nodes[name] = node{name, &f}
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			nodes[dir+"/"] = node{dir + "/", nil}
		}
	}
	var list []node
	for name, n := range nodes {
		if _, folder := nodes[name+"/"]; folder {
			return nil, fmt.Errorf("%.200q is a file and a folder: %w", "/"+name, ErrUsage)
		}
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b node) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

// imagePath checks a path and makes it relative, as layers have it. A name that
// begins with ".wh." would delete a file of another layer (image-spec layer.md,
// whiteouts).
func imagePath(p string) (string, error) {
	name := strings.TrimPrefix(p, "/")
	if !fs.ValidPath(name) || name == "." || strings.ContainsFunc(name, unicode.IsControl) ||
		strings.HasPrefix(name, ".wh.") || strings.Contains(name, "/.wh.") {
		return "", fmt.Errorf("path %.200q cannot stand in an image: %w", p, ErrUsage)
	}
	return name, nil
}

func (n node) write(ctx context.Context, archive *tar.Writer, epoch time.Time) error {
	header := &tar.Header{Name: n.name, Mode: 0o755, ModTime: epoch, Format: tar.FormatPAX}
	if n.file == nil {
		header.Typeflag = tar.TypeDir
		return archive.WriteHeader(header)
	}
	content, size, err := n.file.open()
	if err != nil {
		return err
	}
	defer content.Close()
	header.Typeflag, header.Size = tar.TypeReg, size
	if !n.file.Executable {
		header.Mode = 0o644
	}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	// The archive refuses more bytes than announced; fewer are found by the
	// next header or Close. Either way the file changed under our hands.
	_, err = io.Copy(archive, reader{ctx, content})
	return err
}

// open gives the content of a file and its size.
func (f *File) open() (io.ReadCloser, int64, error) {
	if f.Source == "" {
		return io.NopCloser(strings.NewReader(string(f.data))), int64(len(f.data)), nil
	}
	// Looked at first: opening a named pipe would wait for its writer.
	info, err := os.Stat(f.Source)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file: %w", f.Source, ErrUsage)
	}
	file, err := os.Open(f.Source)
	return file, info.Size(), err
}

// reader ends when its context does.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
