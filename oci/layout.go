package oci

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// The files of an OCI layout (image-spec image-layout.md). index.json has one
// entry: the index of the image.
const (
	layoutFile  = "oci-layout"
	layoutIndex = "index.json"
	layoutBlobs = "blobs"
	layoutMark  = `{"imageLayoutVersion":"1.0.0"}`
)

// WriteLayout writes the image as an OCI layout to the folder dir. The folder
// appears whole: it is made under another name and renamed. An OCI layout that
// is there is replaced; a folder with anything else in it is refused.
func WriteLayout(dir string, i *Image) (err error) {
	dir = filepath.Clean(dir)
	old, err := replaceable(dir)
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(dir), ".tmp-"+filepath.Base(dir)+"-"+rand.Text())
	if err := os.Mkdir(temp, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := fillLayout(temp, i); err != nil {
		return fmt.Errorf("write layout %s: %w", dir, err)
	}
	if old {
		// Two renames: for a moment there is no layout, never half of one.
		aside := temp + "-old"
		if err := os.Rename(dir, aside); err != nil {
			return err
		}
		defer os.RemoveAll(aside)
	}
	return os.Rename(temp, dir)
}

// replaceable tells whether dir is there, and refuses it when it is more than an
// OCI layout: it is going to be deleted.
func replaceable(dir string) (there bool, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	slices.Sort(names)
	if len(names) > 0 && !slices.Equal(names, []string{layoutBlobs, layoutIndex, layoutFile}) {
		return false, hint.Wrap(fmt.Errorf("%s is not empty and not an OCI layout: %w", dir, ErrUsage), "name a new folder")
	}
	return true, nil
}

// fillLayout writes the files of a layout, each to the disk.
func fillLayout(dir string, i *Image) error {
	blobs := filepath.Join(dir, layoutBlobs, "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	for _, c := range i.contents {
		if err := c.copyTo(filepath.Join(blobs, c.desc.Digest.Hex)); err != nil {
			return err
		}
	}
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{i.index().desc},
	})
	if err != nil {
		return err
	}
	if err := bytesContent("", index).copyTo(filepath.Join(dir, layoutIndex)); err != nil {
		return err
	}
	return bytesContent("", []byte(layoutMark)).copyTo(filepath.Join(dir, layoutFile))
}

// copyTo writes the content to a new file and checks it on the way.
func (c content) copyTo(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := c.check(file); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return file.Close()
}

// check reads the content into w and compares it with its descriptor.
func (c content) check(w io.Writer) error {
	source, err := c.open()
	if err != nil {
		return err
	}
	defer source.Close()
	sum := &summer{hash: sha256.New(), next: w}
	// One byte more than announced is enough to know.
	if _, err := io.Copy(sum, io.LimitReader(source, c.desc.Size+1)); err != nil {
		return err
	}
	if sum.size != c.desc.Size || sum.digest() != c.desc.Digest {
		return fmt.Errorf("%s is not what its digest says: %w", c.desc.Digest, ErrInvalid)
	}
	return nil
}

// OpenLayout reads an image back from an OCI layout that holds one image index,
// as [WriteLayout] writes it. Every file is checked against its digest, now and
// again whenever it is copied. Errors about the contents wrap [ErrInvalid]. The
// caller closes the image.
func OpenLayout(dir string) (_ *Image, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			root.Close()
			err = fmt.Errorf("read layout %s: %w", dir, err)
		}
	}()
	mark, err := readSmall(root, layoutFile)
	if err != nil {
		return nil, err
	}
	var version struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(mark, &version); err != nil || version.Version != "1.0.0" {
		return nil, fmt.Errorf("%s %.80q: %w", layoutFile, mark, ErrInvalid)
	}
	raw, err := readSmall(root, layoutIndex)
	if err != nil {
		return nil, err
	}
	top, err := parseIndex(raw)
	if err != nil {
		return nil, err
	}
	if len(top.Manifests) != 1 || top.Manifests[0].MediaType != types.OCIImageIndex {
		return nil, fmt.Errorf("%s does not name one image index: %w", layoutIndex, ErrInvalid)
	}
	image := &Image{close: root.Close}
	if err := image.readIndex(root, top.Manifests[0]); err != nil {
		return nil, err
	}
	return image, nil
}

// readIndex collects what an index names, and the index itself.
func (i *Image) readIndex(root *os.Root, desc v1.Descriptor) error {
	raw, err := i.readBlob(root, desc)
	if err != nil {
		return err
	}
	index, err := parseIndex(raw)
	if err != nil {
		return err
	}
	if n := len(index.Manifests); n == 0 || n > limits.OCIPlatforms {
		return fmt.Errorf("index of %d images: %w", n, ErrInvalid)
	}
	for _, m := range index.Manifests {
		if m.MediaType != types.OCIManifestSchema1 {
			return fmt.Errorf("index names a %.80q: %w", m.MediaType, ErrInvalid)
		}
		raw, err := i.readBlob(root, m)
		if err != nil {
			return err
		}
		manifest, err := parseManifest(raw)
		if err != nil {
			return err
		}
		if n := len(manifest.Layers); n > limits.OCILayers {
			return fmt.Errorf("image of %d layers: %w", n, ErrInvalid)
		}
		for _, blob := range append(manifest.Layers, manifest.Config) {
			if err := i.addBlob(root, blob); err != nil {
				return err
			}
		}
		i.add(bytesContent(m.MediaType, raw))
	}
	i.add(bytesContent(desc.MediaType, raw))
	return nil
}

// readBlob reads a manifest or index.
func (i *Image) readBlob(root *os.Root, desc v1.Descriptor) ([]byte, error) {
	c, err := blobContent(root, desc)
	if err != nil {
		return nil, err
	}
	if desc.Size > limits.OCIManifest {
		return nil, fmt.Errorf("manifest of %d bytes: %w", desc.Size, ErrInvalid)
	}
	var raw bytes.Buffer
	err = c.check(&raw)
	return raw.Bytes(), err
}

// addBlob appends a blob that matches its descriptor.
func (i *Image) addBlob(root *os.Root, desc v1.Descriptor) error {
	c, err := blobContent(root, desc)
	if err != nil {
		return err
	}
	if err := c.check(io.Discard); err != nil {
		return err
	}
	i.add(c)
	return nil
}

// blobContent is the file that a descriptor names. The digest was parsed: it
// holds no path.
func blobContent(root *os.Root, desc v1.Descriptor) (content, error) {
	if !isSHA256(desc.Digest) {
		return content{}, fmt.Errorf("digest %.20q: %w", desc.Digest, ErrInvalid)
	}
	name := filepath.Join(layoutBlobs, desc.Digest.Algorithm, desc.Digest.Hex)
	return content{desc, func() (io.ReadCloser, error) { return openRegular(root, name) }}, nil
}

// readSmall reads a file of the layout that is not a blob.
func readSmall(root *os.Root, name string) ([]byte, error) {
	file, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, limits.OCIManifest+1))
	if len(raw) > limits.OCIManifest {
		return nil, fmt.Errorf("%s is too large: %w", name, ErrInvalid)
	}
	return raw, err
}

// openRegular refuses what is not a file: a named pipe would never end.
func openRegular(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: %w", name, ErrInvalid)
	}
	return root.Open(name)
}
