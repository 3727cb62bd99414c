package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// replace puts another folder in the place of dir, or leaves dir as it was. It
// takes two renames: for a moment there is no layout, never half of one.
func replace(dir, by string) error {
	aside := by + "-old"
	if err := os.Rename(dir, aside); err != nil {
		return err
	}
	if err := os.Rename(by, dir); err != nil {
		return errors.Join(err, os.Rename(aside, dir))
	}
	return os.RemoveAll(aside)
}

// replaceable tells whether dir is there, and refuses it when it is more than an
// OCI layout: it is going to be deleted.
func replaceable(dir string) (there bool, err error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case len(entries) == 0:
		return true, nil
	}
	if err := onlyLayout(os.DirFS(dir)); err != nil {
		err = fmt.Errorf("%s is not empty and not an OCI layout alone: %w: %v", dir, ErrUsage, err)
		return false, hint.Wrap(err, "name a new folder")
	}
	return true, nil
}

// onlyLayout refuses a folder with any file that its index does not lead to.
func onlyLayout(dir fs.FS) error {
	unknown, err := layoutFiles(dir)
	if err != nil {
		return err
	}
	raw, err := readDocument(dir, layoutFile)
	if err != nil {
		return err
	}
	var mark struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(raw, &mark); err != nil || mark.Version == "" {
		return fmt.Errorf("%s names no version", layoutFile)
	}
	if raw, err = readDocument(dir, layoutIndex); err != nil {
		return err
	}
	index, err := parseIndex(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", layoutIndex, err)
	}
	delete(unknown, layoutFile)
	delete(unknown, layoutIndex)
	for todo := index.Manifests; len(todo) > 0; todo = todo[1:] {
		d := todo[0]
		name := blobPath(d.Digest)
		if !unknown[name] {
			continue // seen before; or gone, and then there is nothing to lose
		}
		delete(unknown, name)
		if d.MediaType.IsIndex() || d.MediaType.IsImage() {
			inner, err := descriptors(dir, d)
			if err != nil {
				return err
			}
			todo = append(todo, inner...)
		}
	}
	for name := range unknown {
		return fmt.Errorf("nothing leads to %.200q", name)
	}
	return nil
}

// layoutFiles lists the files, all of which have names that a layout's files have.
func layoutFiles(dir fs.FS) (map[string]bool, error) {
	files := map[string]bool{}
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		folder, file := path.Split(name)
		_, hashErr := v1.NewHash("sha256:" + file)
		switch {
		case d.IsDir() && (name == "." || name == path.Dir(layoutBlobs) || name == layoutBlobs):
		case d.Type().IsRegular() && (name == layoutFile || name == layoutIndex || folder == layoutBlobs+"/" && hashErr == nil):
			files[name] = true
		default:
			return fmt.Errorf("%.200q is not part of one", name)
		}
		return nil
	})
	return files, err
}

// descriptors lists what the manifest or index with this descriptor names.
func descriptors(dir fs.FS, d v1.Descriptor) ([]v1.Descriptor, error) {
	raw, err := readDocument(dir, blobPath(d.Digest))
	if err != nil {
		return nil, err
	}
	if digest(raw) != d.Digest {
		return nil, fmt.Errorf("%s has another digest", blobPath(d.Digest))
	}
	if d.MediaType.IsIndex() {
		index, err := parseIndex(raw)
		if err != nil {
			return nil, err
		}
		return index.Manifests, nil
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, err
	}
	return append(m.Layers, m.Config), nil
}

func blobPath(d v1.Hash) string { return path.Join(layoutBlobs, d.Hex) }

// readDocument reads a file that is no longer than a manifest may be; a longer one
// is cut, and refused by the parser.
func readDocument(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limits.OCIManifest+1))
}
