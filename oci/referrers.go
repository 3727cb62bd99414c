package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// referrers lists the manifests that refer to the subject, each once, by digest.
// It asks the referrers API, page by page, or reads the fallback tag if the
// registry has no such API (distribution-spec, "Listing Referrers"). The list is
// only a list of candidates: nothing in it but the digests is used.
func (s *session) referrers(ctx context.Context, subject Subject) ([]v1.Hash, error) {
	next := &url.URL{
		Scheme: s.repo.Scheme(), Host: s.repo.RegistryStr(),
		Path: fmt.Sprintf("/v2/%s/referrers/%s", s.repo.RepositoryStr(), subject.Digest()),
	}
	var found []v1.Hash
	for page := 0; next != nil; page++ {
		if page == limits.OCIReferrerPages {
			return nil, fmt.Errorf("referrers of more than %d pages: %w", page, ErrInvalid)
		}
		raw, link, err := s.referrersPage(ctx, next)
		if errors.Is(err, errNoReferrersAPI) && page == 0 {
			return s.fallback(ctx, subject)
		}
		if err != nil {
			return nil, err
		}
		if found, err = appendReferrers(found, raw); err != nil {
			return nil, err
		}
		next = link
	}
	return found, nil
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
// digest (distribution-spec, "Referrers Tag Schema").
func (s *session) fallback(ctx context.Context, subject Subject) ([]v1.Hash, error) {
	tag := s.repo.Tag(strings.Replace(subject.Digest(), ":", "-", 1))
	raw, _, err := s.manifest(ctx, tag)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return appendReferrers(nil, raw)
}

// appendReferrers adds the digests of a list that are not there yet.
func appendReferrers(found []v1.Hash, raw []byte) ([]v1.Hash, error) {
	index, err := parseIndex(raw)
	if err != nil {
		return nil, fmt.Errorf("list of referrers: %w", err)
	}
	for _, d := range index.Manifests {
		if isSHA256(d.Digest) {
			found = append(found, d.Digest)
		}
	}
	slices.SortFunc(found, func(a, b v1.Hash) int { return strings.Compare(a.Hex, b.Hex) })
	found = slices.Compact(found)
	if len(found) > limits.OCIReferrers {
		return nil, fmt.Errorf("more than %d referrers: %w", limits.OCIReferrers, ErrInvalid)
	}
	return found, nil
}

// blob fetches a blob, at most [limits.OCIResponse] large. The library compares
// it with its digest.
func (s *session) blob(ctx context.Context, d v1.Hash) ([]byte, error) {
	layer, err := remote.Layer(s.repo.Digest(d.String()), s.options(ctx)...)
	if err != nil {
		return nil, registryError(err)
	}
	body, err := layer.Compressed()
	if err != nil {
		return nil, registryError(err)
	}
	defer body.Close()
	raw, err := io.ReadAll(body)
	return raw, registryError(err)
}
