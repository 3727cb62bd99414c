package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Push sends the image to "registry/repository" or "registry/repository:tag":
// the blobs, then the manifests by digest; then it reads the manifests back and
// compares; the tag moves last, so that it never names half an image. Blobs that
// the registry has are not sent again.
//
// Progress, if not nil, is called with the bytes sent of all, one call after the
// other, from goroutines of Push. There is no limit on the time of a push, except
// that bytes must move; cancel ctx to end it.
func (c *Client) Push(ctx context.Context, ref string, i *Image, progress func(done, total int64)) (Subject, error) {
	repo, tag, err := parseTarget(ref)
	if err != nil {
		return Subject{}, err
	}
	s, err := c.session(ctx, repo, transport.PushScope)
	if err != nil {
		return Subject{}, fmt.Errorf("push to %s: %w", repo, err)
	}
	if err := s.push(ctx, i, tag, newMeter(i, progress)); err != nil {
		return Subject{}, fmt.Errorf("push to %s: %w", repo, err)
	}
	return newSubject(repo, i.index().desc), nil
}

// parseTarget reads where to push; tag is nil if none is given.
func parseTarget(ref string) (name.Repository, *name.Tag, error) {
	if repo, err := parseRepository(ref); err == nil {
		return repo, nil, nil
	}
	parsed, err := parseReference(ref)
	if err != nil {
		return name.Repository{}, nil, err
	}
	tag, ok := parsed.(name.Tag)
	if !ok {
		return name.Repository{}, nil, fmt.Errorf("push to %.200q: a digest cannot be chosen: %w", ref, ErrUsage)
	}
	return tag.Context(), &tag, nil
}

func (s *session) push(ctx context.Context, i *Image, tag *name.Tag, m *meter) error {
	pusher, err := remote.NewPusher(s.options(ctx)...)
	if err != nil {
		return err
	}
	var manifests []manifest
	group, blobs := errgroup.WithContext(ctx)
	group.SetLimit(limits.OCIUploads)
	for _, c := range i.contents {
		if c.desc.MediaType.IsImage() || c.desc.MediaType.IsIndex() {
			raw, err := c.read()
			if err != nil {
				return errors.Join(err, group.Wait())
			}
			manifests = append(manifests, manifest{raw, c.desc})
			continue
		}
		group.Go(func() error {
			layer, err := partial.CompressedToLayer(upload{c, m})
			if err != nil {
				return err
			}
			if err := pusher.Upload(blobs, s.repo, layer); err != nil {
				return registryError(err)
			}
			m.set(c.desc, c.desc.Size)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, man := range manifests {
		if err := pusher.Put(ctx, s.repo.Digest(man.desc.Digest.String()), man); err != nil {
			return registryError(err)
		}
	}
	for _, man := range manifests {
		_, got, err := s.manifest(ctx, s.repo.Digest(man.desc.Digest.String()))
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		if got.MediaType != man.desc.MediaType {
			return fmt.Errorf("read back: %s became a %.80q: %w", man.desc.Digest, got.MediaType, ErrInvalid)
		}
		m.set(man.desc, man.desc.Size)
	}
	if tag == nil {
		return nil
	}
	return registryError(pusher.Put(ctx, *tag, manifests[len(manifests)-1]))
}

// read gives a manifest's bytes.
func (c content) read() ([]byte, error) {
	var raw bytes.Buffer
	err := c.check(&raw)
	return raw.Bytes(), err
}

// manifest is a manifest or index as the library wants it for sending.
type manifest struct {
	raw  []byte
	desc v1.Descriptor
}

// RawManifest implements remote.Taggable.
func (m manifest) RawManifest() ([]byte, error) { return m.raw, nil }

// MediaType says what to send the manifest as.
func (m manifest) MediaType() (types.MediaType, error) { return m.desc.MediaType, nil }

// upload is a blob as the library wants it for sending; reading it moves the
// meter.
type upload struct {
	content
	meter *meter
}

// Digest implements partial.CompressedLayer.
func (u upload) Digest() (v1.Hash, error) { return u.desc.Digest, nil }

// Size implements partial.CompressedLayer.
func (u upload) Size() (int64, error) { return u.desc.Size, nil }

// MediaType implements partial.CompressedLayer.
func (u upload) MediaType() (types.MediaType, error) { return u.desc.MediaType, nil }

// Compressed implements partial.CompressedLayer.
func (u upload) Compressed() (io.ReadCloser, error) {
	source, err := u.open()
	if err != nil {
		return nil, err
	}
	return &meteredReader{ReadCloser: source, meter: u.meter, desc: u.desc}, nil
}

// meter adds up what was sent. An upload that starts anew counts from zero.
type meter struct {
	report func(done, total int64)

	mu          sync.Mutex
	sent        map[v1.Hash]int64
	done, total int64
}

func newMeter(i *Image, report func(done, total int64)) *meter {
	m := &meter{report: report, sent: map[v1.Hash]int64{}}
	for _, c := range i.contents {
		m.total += c.desc.Size
	}
	return m
}

// set says how much of one content was sent.
func (m *meter) set(desc v1.Descriptor, sent int64) {
	if m.report == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += sent - m.sent[desc.Digest]
	m.sent[desc.Digest] = sent
	m.report(m.done, m.total)
}

type meteredReader struct {
	io.ReadCloser
	meter *meter
	desc  v1.Descriptor
	sent  int64
}

func (r *meteredReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.sent += int64(n)
		r.meter.set(r.desc, r.sent)
	}
	return n, err
}
