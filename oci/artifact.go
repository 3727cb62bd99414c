package oci

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cenkalti/backoff/v5"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Artifact is something attached to an image: a document of one blob, such as a
// Sigstore bundle.
type Artifact struct {
	Type        string // the artifact's type, in the manifest
	MediaType   string // of Data
	Annotations map[string]string
	Data        []byte
	// Digest is that of the artifact's manifest; [Client.Attach] and
	// [Client.Attached] set it.
	Digest string
}

// Attach attaches an artifact to the subject as a referrer (image-spec
// manifest.md, "Guidelines for Artifact Usage") and returns it with its digest.
// Attaching the same artifact twice changes nothing.
//
// A registry without the referrers API keeps the list of referrers under a tag
// that clients replace. Attach reads the list back and repeats when it finds
// itself missing, and attaches of one client wait for each other; but another
// client that replaces the list a moment later undoes an attachment without
// anybody noticing. On such registries one writer must attach all artifacts.
func (c *Client) Attach(ctx context.Context, subject Subject, a Artifact) (Artifact, error) {
	if a.Type == "" || a.MediaType == "" || len(a.Data) == 0 || len(a.Data) > limits.OCIArtifact {
		return Artifact{}, fmt.Errorf("attach artifact of type %.80q, media type %.80q, %d bytes: %w", a.Type, a.MediaType, len(a.Data), ErrUsage)
	}
	select {
	case c.attaching <- struct{}{}:
		defer func() { <-c.attaching }()
	case <-ctx.Done():
		return Artifact{}, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, limits.RegistryCall)
	defer cancel()
	s, err := c.session(ctx, subject.repo, transport.PushScope)
	if err != nil {
		return Artifact{}, fmt.Errorf("attach to %s: %w", subject, err)
	}
	m, err := s.uploadArtifact(ctx, subject, a)
	if err != nil {
		return Artifact{}, fmt.Errorf("attach to %s: %w", subject, err)
	}
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		return struct{}{}, s.attach(ctx, subject, m)
	}, backoff.WithBackOff(c.wait()), backoff.WithMaxTries(limits.AttachTries))
	if err != nil {
		return Artifact{}, fmt.Errorf("attach to %s: %w", subject, err)
	}
	a.Digest = m.desc.Digest.String()
	return a, nil
}

// uploadArtifact sends the blobs of an artifact and makes its manifest.
func (s *session) uploadArtifact(ctx context.Context, subject Subject, a Artifact) (manifest, error) {
	pusher, err := remote.NewPusher(s.options(ctx)...)
	if err != nil {
		return manifest{}, err
	}
	config := static.NewLayer([]byte("{}"), types.OCIEmptyJSON)
	data := static.NewLayer(a.Data, types.MediaType(a.MediaType))
	var descs [2]v1.Descriptor
	for i, blob := range []v1.Layer{config, data} {
		if err := pusher.Upload(ctx, s.repo, blob); err != nil {
			return manifest{}, registryError(err)
		}
		descs[i].MediaType, _ = blob.MediaType()
		descs[i].Size, _ = blob.Size()
		descs[i].Digest, _ = blob.Digest()
	}
	raw, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  a.Type,
		Config:        descs[0],
		Layers:        descs[1:],
		Subject:       subject.descriptor(),
		Annotations:   a.Annotations,
	})
	if err != nil {
		return manifest{}, err
	}
	if len(raw) > limits.OCIArtifactManifest {
		return manifest{}, fmt.Errorf("artifact with a manifest of %d bytes, more than %d: %w", len(raw), limits.OCIArtifactManifest, ErrUsage)
	}
	return manifest{raw, bytesContent(types.OCIManifestSchema1, raw).desc}, nil
}

// attach sends the manifest, whereupon the library updates the list of the
// fallback tag if there must be one, and looks whether the list shows it. Only
// the failure to be listed is worth another try.
func (s *session) attach(ctx context.Context, subject Subject, m manifest) error {
	if err := remote.Put(s.repo.Digest(m.desc.Digest.String()), m, s.options(ctx)...); err != nil {
		return backoff.Permanent(registryError(err))
	}
	for r, err := range s.referrers(ctx, subject) {
		if err != nil {
			return backoff.Permanent(err)
		}
		if r.digest == m.desc.Digest {
			return nil
		}
	}
	return fmt.Errorf("registry does not list %s among the referrers: %w", m.desc.Digest, ErrInvalid)
}
