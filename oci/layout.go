package oci

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The files of an OCI layout (image-spec image-layout.md). index.json has one
// entry: the index of the image.
const (
	layoutFile  = "oci-layout"
	layoutIndex = "index.json"
	layoutBlobs = "blobs/sha256"
	layoutMark  = `{"imageLayoutVersion":"1.0.0"}`
)

// WriteLayout writes the image as an OCI layout to the folder dir. The folder
// appears whole: it is made under another name and renamed. An OCI layout that
// is there is replaced; a folder with anything in it that its index does not lead
// to is refused.
func WriteLayout(dir string, i *Image) error {
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
		return replace(dir, temp)
	}
	return os.Rename(temp, dir)
}

// fillLayout writes the files of a layout, each to the disk.
func fillLayout(dir string, i *Image) error {
	blobs := filepath.Join(dir, layoutBlobs)
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
