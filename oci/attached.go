package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Attached yields the artifacts of the given type, each as soon as it is read:
// whoever found the one that he wants stops there. Small artifacts come first, so
// that large ones cannot stand before them. It opens every manifest that the
// registry lists and judges by what is in it: the listed types are wrong on some
// registries. The whole search takes at most [limits.RegistryCall], the caller's
// own work included.
//
// Manifests of another type are passed over in silence. Artifacts that are
// malformed, too large, gone, or not what their digest says are passed over, too:
// they say nothing about the others. The last pair is an error if any was passed
// over or none was yielded. It names some of the former and wraps
// [ErrNotAttached], unless the search came to a limit or the registry failed it on
// the way: that wraps another class, because there may be more artifacts.
func (c *Client) Attached(ctx context.Context, subject Subject, artifactType string) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		ctx, cancel := context.WithTimeout(ctx, limits.RegistryCall)
		defer cancel()
		login, err := c.session(ctx, subject.repo, transport.PullScope)
		if err == nil {
			s := &search{session: login, subject: subject, artifactType: artifactType}
			err = s.run(ctx, func(a Artifact) bool { return yield(a, nil) })
		}
		if err != nil {
			yield(Artifact{}, fmt.Errorf("look for attachments of %s: %w", subject, err))
		}
	}
}

// search is one walk through what is attached to a subject.
type search struct {
	*session
	subject      Subject
	artifactType string

	large          []largeArtifact // to read after the small ones
	listed, opened int             // referrers
	yielded        int
	passedOver     int
	named          []error // the first ones passed over
	incomplete     error   // the first reason why not everything was looked at
}

// largeArtifact is a referrer with the size of its artifact's data.
type largeArtifact struct {
	referrer
	data int64
}

// run yields artifacts until yield returns false. It returns an error if the
// caller, who wanted more, must know why there are none.
func (s *search) run(ctx context.Context, yield func(Artifact) bool) error {
	candidates := s.candidates(ctx)
	s.listed = len(candidates)
	for _, r := range candidates {
		if !s.read(ctx, r, limits.OCISmallArtifact, yield) {
			return nil
		}
		if ctx.Err() == nil {
			s.opened++
		}
	}
	slices.SortStableFunc(s.large, func(a, b largeArtifact) int { return cmp.Compare(a.data, b.data) })
	left := int64(limits.OCIArtifacts)
	for _, r := range s.large {
		if left -= r.data; left < 0 {
			s.fail(fmt.Errorf("large artifacts of more than %d bytes together: %w", limits.OCIArtifacts, ErrInvalid))
			break
		}
		if !s.read(ctx, r.referrer, limits.OCIArtifact, yield) {
			return nil
		}
	}
	return s.end()
}

// candidates lists the referrers to open, each once: a few in the same order each
// time; many in a random one, because whoever can push could otherwise arrange for
// his own to be opened first and the time to run out each time.
func (s *search) candidates(ctx context.Context) []referrer {
	var all []referrer
	for r, err := range s.referrers(ctx, s.subject) {
		if err != nil {
			s.fail(err)
			break
		}
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b referrer) int {
		return cmp.Or(strings.Compare(a.digest.Hex, b.digest.Hex), cmp.Compare(a.size, b.size))
	})
	all = slices.CompactFunc(all, func(a, b referrer) bool { return a.digest == b.digest })
	if len(all) > limits.OCIReferrersInOrder {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	return all
}

// read opens one referrer and yields the artifact, if it is one. An artifact of
// more than most bytes is left for later. It returns false when the caller has
// enough.
func (s *search) read(ctx context.Context, r referrer, most int64, yield func(Artifact) bool) bool {
	if err := ctx.Err(); err != nil {
		s.fail(registryError(err))
		return true
	}
	artifact, data, err := s.open(ctx, r)
	if err == nil && data.Size > most {
		s.large = append(s.large, largeArtifact{r, data.Size})
		return true
	}
	if err == nil {
		artifact.Data, err = s.blob(ctx, data)
	}
	switch {
	case err == nil:
		s.yielded++
		return yield(artifact)
	case errors.Is(err, errOtherType):
	case errors.Is(err, errMalformed), errors.Is(err, ErrInvalid), errors.Is(err, ErrNotFound):
		if s.passedOver++; len(s.named) < limits.OCINamed {
			// %v: a bad artifact is not a bad registry.
			s.named = append(s.named, fmt.Errorf("passed over %s: %v", r.digest, err))
		}
	default:
		s.fail(fmt.Errorf("open %s: %w", r.digest, err))
	}
	return true
}

func (s *search) fail(err error) {
	if s.incomplete == nil {
		s.incomplete = err
	}
}

// end is the error after the last artifact, or nil if all is well.
func (s *search) end() error {
	err := s.incomplete
	switch {
	case err != nil && s.listed > 0:
		err = fmt.Errorf("opened %d of %d referrers: %w", s.opened, s.listed, err)
	case err != nil:
	case s.yielded == 0:
		err = fmt.Errorf("%w of type %.80q", ErrNotAttached, s.artifactType)
	case s.passedOver > 0:
		err = fmt.Errorf("%w besides %d artifacts of type %.80q", ErrNotAttached, s.yielded, s.artifactType)
	default:
		return nil
	}
	all := append([]error{err}, s.named...)
	if more := s.passedOver - len(s.named); more > 0 {
		all = append(all, fmt.Errorf("passed over %d more", more))
	}
	return errors.Join(all...)
}

// open fetches a referrer's manifest. It returns the artifact without its data,
// and where that is.
func (s *search) open(ctx context.Context, r referrer) (Artifact, v1.Descriptor, error) {
	refuse := func(format string, args ...any) (Artifact, v1.Descriptor, error) {
		return Artifact{}, v1.Descriptor{}, fmt.Errorf("%w: "+format, append([]any{errMalformed}, args...)...)
	}
	if r.size > limits.OCIArtifactManifest {
		return refuse("it is listed with a manifest of %d bytes", r.size)
	}
	raw, desc, err := s.manifest(ctx, s.repo.Digest(r.digest.String()))
	if err != nil {
		return Artifact{}, v1.Descriptor{}, err
	}
	if len(raw) > limits.OCIArtifactManifest {
		return refuse("its manifest has %d bytes", len(raw))
	}
	m, err := parseManifest(raw)
	if err != nil {
		return Artifact{}, v1.Descriptor{}, errOtherType
	}
	// Where the manifest has no type, that of its configuration is meant.
	if cmp.Or(m.ArtifactType, string(m.Config.MediaType)) != s.artifactType {
		return Artifact{}, v1.Descriptor{}, errOtherType
	}
	if m.Subject == nil || m.Subject.Digest != s.subject.digest {
		return refuse("its subject is another image")
	}
	if len(m.Layers) != 1 || !isSHA256(m.Layers[0].Digest) || m.Layers[0].Size > limits.OCIArtifact {
		return refuse("it does not have one blob of at most %d bytes", limits.OCIArtifact)
	}
	return Artifact{
		Type:        s.artifactType,
		MediaType:   string(m.Layers[0].MediaType),
		Annotations: m.Annotations,
		Digest:      desc.Digest.String(),
	}, m.Layers[0], nil
}

// blob fetches a blob of exactly the size that its descriptor says. The library
// compares it with its digest.
func (s *session) blob(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	layer, err := remote.Layer(s.repo.Digest(d.Digest.String()), s.options(ctx)...)
	if err != nil {
		return nil, registryError(err)
	}
	body, err := layer.Compressed()
	if err != nil {
		return nil, registryError(err)
	}
	defer body.Close()
	// One byte more than announced is enough to know.
	raw, err := io.ReadAll(io.LimitReader(body, d.Size+1))
	if err != nil {
		return nil, registryError(err)
	}
	if int64(len(raw)) != d.Size {
		return nil, fmt.Errorf("%w: its blob does not have %d bytes", errMalformed, d.Size)
	}
	return raw, nil
}

var (
	errOtherType = errors.New("not an artifact of this type")
	errMalformed = errors.New("malformed artifact")
)
