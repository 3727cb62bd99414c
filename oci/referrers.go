package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// referrer is a manifest that a registry lists for a subject. The size is only the
// list's claim.
type referrer struct {
	digest v1.Hash
	size   int64
}

// referrers yields the manifests that refer to the subject, in the registry's
// order and perhaps more than once. It asks the referrers API, page by page, or
// reads the fallback tag if the registry has no such API (distribution-spec,
// "Listing Referrers"). The last pair is an error if the list could not be read to
// its end.
func (s *session) referrers(ctx context.Context, subject Subject) iter.Seq2[referrer, error] {
	return func(yield func(referrer, error) bool) {
		listed := 0
		for raw, err := range s.lists(ctx, subject) {
			var page []referrer
			if err == nil {
				page, err = parseReferrers(raw)
			}
			for _, r := range page {
				if listed++; listed > limits.OCIReferrers {
					err = fmt.Errorf("more than %d referrers: %w", limits.OCIReferrers, ErrInvalid)
					break
				}
				if !yield(r, nil) {
					return
				}
			}
			if err != nil {
				yield(referrer{}, err)
				return
			}
		}
	}
}

// lists yields the pages of the list of referrers, or the one list of the fallback
// tag.
func (s *session) lists(ctx context.Context, subject Subject) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		next := &url.URL{
			Scheme: s.repo.Scheme(), Host: s.repo.RegistryStr(),
			Path: fmt.Sprintf("/v2/%s/referrers/%s", s.repo.RepositoryStr(), subject.Digest()),
		}
		for page := 0; next != nil; page++ {
			if page == limits.OCIReferrerPages {
				yield(nil, fmt.Errorf("referrers of more than %d pages: %w", page, ErrInvalid))
				return
			}
			raw, link, err := s.referrersPage(ctx, next)
			if errors.Is(err, errNoReferrersAPI) && page == 0 {
				if raw, err = s.fallback(ctx, subject); raw == nil && err == nil {
					return
				}
			}
			if !yield(raw, err) || err != nil {
				return
			}
			next = link
		}
	}
}

var errNoReferrersAPI = errors.New("registry has no referrers API")

// referrersPage fetches one page, and the address of the next if there is one.
func (s *session) referrersPage(ctx context.Context, page *url.URL) ([]byte, *url.URL, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept", string(types.OCIImageIndex))
	client := &http.Client{Transport: s.transport, CheckRedirect: sameHost}
	resp, err := client.Do(request)
	if err != nil {
		return nil, nil, registryError(err)
	}
	defer resp.Body.Close()
	// 400 is what some registries answer that do not know the path.
	if err := transport.CheckError(resp, http.StatusOK, http.StatusNotFound, http.StatusBadRequest); err != nil {
		return nil, nil, registryError(err)
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode != http.StatusOK || mediaType != string(types.OCIImageIndex) {
		return nil, nil, errNoReferrersAPI
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, registryError(err)
	}
	link := nextLink(resp.Header.Values("Link"))
	if link == "" {
		return raw, nil, nil
	}
	next, err := page.Parse(link)
	if err != nil || next.Scheme != page.Scheme || next.Host != page.Host {
		return nil, nil, fmt.Errorf("next page %.200q: %w", link, ErrInvalid)
	}
	return raw, next, nil
}

// sameHost refuses to be sent elsewhere: only blobs may be stored at other hosts.
func sameHost(r *http.Request, via []*http.Request) error {
	if r.URL.Host != via[0].URL.Host {
		return fmt.Errorf("%w: redirect to %.80q", errRefused, r.URL.Host)
	}
	return nil
}

// nextLink finds the target with relation "next" in Link headers (RFC 8288,
// section 3); empty if there is none.
func nextLink(headers []string) string {
	for _, rest := range headers {
		for {
			_, after, ok := strings.Cut(rest, "<")
			target, parameters, closed := strings.Cut(after, ">")
			if !ok || !closed {
				break
			}
			parameters, rest, _ = strings.Cut(parameters, ",")
			for parameter := range strings.SplitSeq(parameters, ";") {
				key, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
				if strings.EqualFold(key, "rel") && strings.Trim(value, `"`) == "next" {
					return target
				}
			}
		}
	}
	return ""
}

// fallback reads the list that clients keep under a tag made of the subject's
// digest (distribution-spec, "Referrers Tag Schema"); nil if there is none.
func (s *session) fallback(ctx context.Context, subject Subject) ([]byte, error) {
	tag := s.repo.Tag(strings.Replace(subject.Digest(), ":", "-", 1))
	raw, _, err := s.manifest(ctx, tag)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return raw, err
}

// parseReferrers reads a list of referrers. Everybody who may push has a hand in
// it, so an entry that we could not open hides no other.
func parseReferrers(raw []byte) ([]referrer, error) {
	var index struct {
		Manifests []struct {
			Digest string `json:"digest"`
			Size   int64  `json:"size"`
		} `json:"manifests"`
	}
	if err := parse(raw, &index, false, types.OCIImageIndex, types.DockerManifestList); err != nil {
		return nil, fmt.Errorf("list of referrers: %w", err)
	}
	var all []referrer
	for _, d := range index.Manifests {
		if h, err := v1.NewHash(d.Digest); err == nil && isSHA256(h) {
			all = append(all, referrer{h, d.Size})
		}
	}
	return all, nil
}
