package oci

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// Subject is an image, or an index of images, in a registry: a repository, and a
// digest that was computed from what the registry has. Subjects can be compared.
type Subject struct {
	repo      name.Repository
	mediaType types.MediaType
	size      int64
	digest    v1.Hash
}

func newSubject(repo name.Repository, d v1.Descriptor) Subject {
	return Subject{repo, d.MediaType, d.Size, d.Digest}
}

// String is the subject's only name: "registry/repository@sha256:…".
func (s Subject) String() string { return s.ref().Name() }

// Digest is "sha256:" and 64 lower-case hexadecimal digits.
func (s Subject) Digest() string { return s.digest.String() }

// Repository is the registry and the repository, without the digest.
func (s Subject) Repository() string { return s.repo.Name() }

func (s Subject) descriptor() *v1.Descriptor {
	return &v1.Descriptor{MediaType: s.mediaType, Size: s.size, Digest: s.digest}
}

func (s Subject) ref() name.Digest { return s.repo.Digest(s.Digest()) }

// Resolve looks up a reference: "registry/repository:tag" or
// "registry/repository@sha256:…". Registry and tag are never guessed.
func (c *Client) Resolve(ctx context.Context, ref string) (Subject, error) {
	parsed, err := parseReference(ref)
	if err != nil {
		return Subject{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, limits.RegistryCall)
	defer cancel()
	s, err := c.session(ctx, parsed.Context(), transport.PullScope)
	if err != nil {
		return Subject{}, fmt.Errorf("resolve %s: %w", parsed, err)
	}
	m, err := s.parsed(ctx, parsed)
	if err != nil {
		return Subject{}, fmt.Errorf("resolve %s: %w", parsed, err)
	}
	return newSubject(parsed.Context(), m.desc), nil
}

// Images lists the images of an index, in its order; a subject that is an image
// itself has none. Admission controllers resolve an index to the image of their
// platform, so whoever signs an index signs these, too.
func (c *Client) Images(ctx context.Context, index Subject) ([]Subject, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.RegistryCall)
	defer cancel()
	s, err := c.session(ctx, index.repo, transport.PullScope)
	if err != nil {
		return nil, fmt.Errorf("list images of %s: %w", index, err)
	}
	m, err := s.parsed(ctx, index.ref())
	if err != nil {
		return nil, fmt.Errorf("list images of %s: %w", index, err)
	}
	if m.index == nil {
		return nil, nil
	}
	if n := len(m.index.Manifests); n > limits.OCIPlatforms {
		return nil, fmt.Errorf("%s has %d images: %w", index, n, ErrInvalid)
	}
	var images []Subject
	for _, d := range m.index.Manifests {
		// Fetched, because the index only claims size and media type.
		image, err := s.parsed(ctx, index.repo.Digest(d.Digest.String()))
		if err != nil {
			return nil, fmt.Errorf("list images of %s: %w", index, err)
		}
		images = append(images, newSubject(index.repo, image.desc))
	}
	return images, nil
}

// parseReference wants a registry and a tag or digest in the text.
func parseReference(ref string) (name.Reference, error) {
	parsed, err := name.ParseReference(ref, nameOptions(ref)...)
	if err != nil || len(ref) > limits.OCIReference {
		return nil, badReference(ref)
	}
	if d, ok := parsed.(name.Digest); ok && !strings.HasPrefix(d.DigestStr(), "sha256:") {
		return nil, badReference(ref)
	}
	return parsed, nil
}

// parseRepository wants a registry and nothing after the repository.
func parseRepository(ref string) (name.Repository, error) {
	repo, err := name.NewRepository(ref, nameOptions(ref)...)
	if err != nil || len(ref) > limits.OCIReference {
		return name.Repository{}, badReference(ref)
	}
	return repo, nil
}

// nameOptions make the library guess nothing, and try plain HTTP for every
// spelling of loopback. For others that it would try, the guard refuses.
func nameOptions(ref string) []name.Option {
	options := []name.Option{name.StrictValidation}
	if registry, _, _ := strings.Cut(ref, "/"); isLoopback(registry) {
		options = append(options, name.Insecure)
	}
	return options
}

func badReference(ref string) error {
	return hint.Wrap(fmt.Errorf("image reference %.200q: %w", ref, ErrUsage),
		"write REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:DIGEST")
}
