package oci

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
)

// nobody is the user that images run as: the "nonroot" of common practice. It
// is known to /etc/passwd, which every image gets.
const (
	nobody = "65532:65532"
	passwd = "nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
)

// Input is what one platform's image holds besides /etc/passwd.
type Input struct {
	Platform Platform
	Files    []File
}

// BuildOptions say what [Build] makes. The zero value of every field but Inputs
// is good.
type BuildOptions struct {
	Inputs     []Input  // one for each platform, in any order
	Entrypoint []string // the program and its first arguments
	// Epoch is the time of every file and of the image, in whole seconds; zero
	// means 1970-01-01.
	Epoch  time.Time
	Labels Labels
}

// Labels describe an image to people and tools. They become annotations of the
// index and of the images, and labels of their configuration, under the names of
// image-spec annotations.md; empty ones are left out.
type Labels struct {
	Title, Source, Revision, Version, Licenses string
}

func (l Labels) annotations(epoch time.Time) map[string]string {
	const prefix = "org.opencontainers.image."
	all := map[string]string{prefix + "created": epoch.Format(time.RFC3339)}
	for name, value := range map[string]string{
		"title": l.Title, "source": l.Source, "revision": l.Revision,
		"version": l.Version, "licenses": l.Licenses,
	} {
		if value != "" {
			all[prefix+name] = value
		}
	}
	return all
}

// Image is an image index with its images, one for each platform. It is safe
// for concurrent use until it is closed.
type Image struct {
	// contents are the index and all that it names, each after what it names
	// itself, so that the index comes last.
	contents []content
	layers   []*layer
}

// content is one blob, manifest or index.
type content struct {
	desc v1.Descriptor
	open func() (io.ReadCloser, error)
}

// Digest is the digest of the index: "sha256:…".
func (i *Image) Digest() string { return i.index().desc.Digest.String() }

// Close removes the temporary files behind the image.
func (i *Image) Close() error { return closeAll(i.layers) }

func (i *Image) index() content { return i.contents[len(i.contents)-1] }

// add appends a content unless an equal one is there: platforms may share.
func (i *Image) add(c content) {
	if !slices.ContainsFunc(i.contents, func(o content) bool { return o.desc.Digest == c.desc.Digest }) {
		i.contents = append(i.contents, c)
	}
}

// addJSON appends a document and returns its descriptor.
func (i *Image) addJSON(mediaType types.MediaType, document any) (v1.Descriptor, error) {
	raw, err := json.Marshal(document)
	if err != nil {
		return v1.Descriptor{}, err
	}
	c := bytesContent(mediaType, raw)
	i.add(c)
	return c.desc, nil
}

func bytesContent(mediaType types.MediaType, raw []byte) content {
	return content{
		desc: v1.Descriptor{MediaType: mediaType, Size: int64(len(raw)), Digest: digest(raw)},
		open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
	}
}

// Build makes an image of one layer for each platform, on no base. The same
// options and file contents always give the same digest. The caller closes the
// image, which removes its temporary files. Errors of the options wrap
// [ErrUsage].
func Build(ctx context.Context, o BuildOptions) (_ *Image, err error) {
	inputs := slices.SortedFunc(slices.Values(o.Inputs), func(a, b Input) int {
		return strings.Compare(a.Platform.String(), b.Platform.String())
	})
	if err := checkInputs(inputs); err != nil {
		return nil, err
	}
	o.Epoch = cmp.Or(o.Epoch, time.Unix(0, 0)).UTC().Truncate(time.Second)
	if o.Epoch.Unix() < 0 || o.Epoch.Year() > 9999 {
		return nil, fmt.Errorf("time %s cannot stand in an image: %w", o.Epoch, ErrUsage)
	}
	layers, err := buildLayers(ctx, inputs, o.Epoch)
	if err != nil {
		return nil, err
	}
	image := &Image{layers: layers}
	defer func() {
		if err != nil {
			image.Close()
		}
	}()

	annotations := o.Labels.annotations(o.Epoch)
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Annotations: annotations}
	for n, in := range inputs {
		image.add(content{layers[n].desc, layers[n].open})
		config, err := image.addJSON(types.OCIConfigJSON, configFile(o, in.Platform, layers[n].diffID))
		if err != nil {
			return nil, err
		}
		manifest, err := image.addJSON(types.OCIManifestSchema1, v1.Manifest{
			SchemaVersion: 2,
			MediaType:     types.OCIManifestSchema1,
			Config:        config,
			Layers:        []v1.Descriptor{layers[n].desc},
			Annotations:   annotations,
		})
		if err != nil {
			return nil, err
		}
		manifest.Platform = in.Platform.descriptor()
		index.Manifests = append(index.Manifests, manifest)
	}
	if _, err := image.addJSON(types.OCIImageIndex, index); err != nil {
		return nil, err
	}
	return image, nil
}

// checkInputs wants each platform once.
func checkInputs(sorted []Input) error {
	if len(sorted) == 0 {
		return fmt.Errorf("an image needs a platform: %w", ErrUsage)
	}
	for i, in := range sorted {
		if !slices.Contains(platforms, in.Platform) {
			return fmt.Errorf("unknown platform %.40q: %w", in.Platform, ErrUsage)
		}
		if i > 0 && sorted[i-1].Platform == in.Platform {
			return fmt.Errorf("platform %s is given twice: %w", in.Platform, ErrUsage)
		}
	}
	return nil
}

// buildLayers makes the layers of all platforms, as many at once as there are
// processors.
func buildLayers(ctx context.Context, inputs []Input, epoch time.Time) ([]*layer, error) {
	layers := make([]*layer, len(inputs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, in := range inputs {
		group.Go(func() (err error) {
			files := append([]File{{Path: "/etc/passwd", data: []byte(passwd)}}, in.Files...)
			layers[i], err = newLayer(ctx, files, epoch)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, closeAll(layers))
	}
	return layers, nil
}

func closeAll(layers []*layer) error {
	var errs []error
	for _, l := range layers {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// configFile says how to run the image (image-spec config.md). Nothing in it
// tells when or where it was made.
func configFile(o BuildOptions, p Platform, diffID v1.Hash) v1.ConfigFile {
	created := v1.Time{Time: o.Epoch}
	return v1.ConfigFile{
		OS:           p.OS,
		Architecture: p.Architecture,
		Variant:      p.Variant,
		Created:      created,
		Config: v1.Config{
			User:       nobody,
			Entrypoint: o.Entrypoint,
			WorkingDir: "/",
			Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Labels:     o.Labels.annotations(o.Epoch),
		},
		RootFS:  v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{diffID}},
		History: []v1.History{{Created: created, CreatedBy: "sealsmith image build"}},
	}
}
