package oci

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Client talks to registries. It is safe for concurrent use and needs no closing.
//
// Errors of its methods wrap [ErrUsage], [ErrNotFound], [ErrUnreachable],
// [ErrDenied], [ErrInvalid], or the context's error.
type Client struct {
	userAgent string
	transport http.RoundTripper
	keychain  authn.Keychain
	wait      func() backoff.BackOff

	attaching chan struct{} // held by the one Attach at work

	mu       sync.Mutex
	sessions map[string]*session
}

// NewClient makes a client that presents itself as userAgent ("sealsmith/v1.2.3")
// and logs in with the user's container credentials. It speaks plain HTTP to
// loopback registries (localhost, 127.0.0.0/8, ::1) and to no others.
func NewClient(userAgent string) *Client {
	return &Client{
		userAgent: userAgent,
		transport: newTransport(),
		keychain:  authn.DefaultKeychain,
		wait:      func() backoff.BackOff { return backoff.NewExponentialBackOff() },
		attaching: make(chan struct{}, 1),
		sessions:  map[string]*session{},
	}
}

// session is a repository that we are logged in to.
type session struct {
	repo      name.Repository
	transport *transport.Wrapper
}

// session logs in for pulling or for pushing, once.
func (c *Client) session(ctx context.Context, repo name.Repository, scope string) (*session, error) {
	id := repo.Name() + " " + scope
	c.mu.Lock()
	s := c.sessions[id]
	c.mu.Unlock()
	if s != nil {
		return s, nil
	}
	auth, err := authn.Resolve(ctx, c.keychain, repo)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", repo.Registry, err)
	}
	guard := &guard{next: c.transport, loopback: isLoopback(repo.RegistryStr()), wait: c.wait}
	agent := transport.NewUserAgent(guard, c.userAgent)
	login, err := transport.NewWithContext(ctx, repo.Registry, auth, agent, []string{repo.Scope(scope)})
	if err != nil {
		return nil, registryError(err)
	}
	s = &session{repo, login.(*transport.Wrapper)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions[id] = s
	return s, nil
}

// options make the library use the session. The guard retries requests; what the
// library retries is a whole upload, once.
func (s *session) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithTransport(s.transport),
		remote.WithRetryBackoff(remote.Backoff{Duration: time.Second, Factor: 1, Jitter: 0.2, Steps: 2}),
	}
}

// manifest fetches a manifest or index. The digest in its descriptor is computed
// from the bytes.
func (s *session) manifest(ctx context.Context, ref name.Reference) ([]byte, v1.Descriptor, error) {
	got, err := remote.Get(ref, s.options(ctx)...)
	if err != nil {
		return nil, v1.Descriptor{}, registryError(err)
	}
	raw := got.Manifest
	desc := v1.Descriptor{MediaType: got.MediaType, Size: int64(len(raw)), Digest: digest(raw)}
	if len(raw) > limits.OCIManifest {
		return nil, desc, fmt.Errorf("manifest of %d bytes: %w", len(raw), ErrInvalid)
	}
	if byDigest, ok := ref.(name.Digest); ok && byDigest.DigestStr() != desc.Digest.String() {
		return nil, desc, fmt.Errorf("registry gives %s for %s: %w", desc.Digest, byDigest.DigestStr(), ErrInvalid)
	}
	return raw, desc, nil
}

// parsedManifest is a manifest with its parse: exactly one of index and image.
type parsedManifest struct {
	desc  v1.Descriptor
	index *v1.IndexManifest
	image *v1.Manifest
}

// parsed fetches and parses. The media type that the registry declares must be
// the one that the bytes show.
func (s *session) parsed(ctx context.Context, ref name.Reference) (parsedManifest, error) {
	raw, desc, err := s.manifest(ctx, ref)
	if err != nil {
		return parsedManifest{}, err
	}
	m := parsedManifest{desc: desc}
	var says types.MediaType
	switch {
	case desc.MediaType.IsIndex():
		if m.index, err = parseIndex(raw); err == nil {
			says = m.index.MediaType
		}
	case desc.MediaType.IsImage():
		if m.image, err = parseManifest(raw); err == nil {
			says = m.image.MediaType
		}
	default:
		err = fmt.Errorf("media type %.80q is neither an image nor an index: %w", desc.MediaType, ErrInvalid)
	}
	if err == nil && says != "" && says != desc.MediaType {
		err = fmt.Errorf("registry says %.80q, the manifest %.80q: %w", desc.MediaType, says, ErrInvalid)
	}
	return m, err
}
