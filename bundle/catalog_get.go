package bundle

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Get downloads the certificate of one entry from its URL, whatever a store has, and
// keeps nothing. All digests that the entry pins are checked; it may pin none. The site
// may redirect only to https, and to its own host or one of the listed entries.
func (f *Fetcher) Get(ctx context.Context, e Entry, listed ...Entry) (*x509.Certificate, error) {
	if err := checkURL(e.URL); err != nil {
		return nil, fmt.Errorf("%w: url: %w", ErrUsage, err)
	}
	ctx, cancel := context.WithTimeout(ctx, limits.BundleFetch)
	defer cancel()
	j := f.newJob(append(slices.Clone(listed), e))
	defer j.client.CloseIdleConnections()
	h := j.hosts[hostOf(e.URL)]
	h.queue = append(h.queue, len(listed))
	j.run(func(_ int, h *host) Source { return j.ask(ctx, h, e, nil) }, func(s Source) Source { return s })
	got := j.sources[len(listed)]
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case got.Pinned == nil:
		return nil, &Failure{e, got.Err}
	}
	return got.Pinned, nil
}

// NewEntry pins a certificate by SHA-1, SHA-256 and the hashes that its vendor
// published.
func NewEntry(vendor, name, url string, c *x509.Certificate, published ...Fingerprint) Entry {
	e := Entry{Vendor: vendor, Name: name, URL: url, Status: Current}
	hashes := []crypto.Hash{crypto.SHA1, crypto.SHA256}
	for _, p := range published {
		if !slices.Contains(hashes, p.Hash) {
			hashes = append(hashes, p.Hash)
		}
	}
	slices.Sort(hashes)
	for _, h := range hashes {
		e.Fingerprints = append(e.Fingerprints, FingerprintOf(h, c))
	}
	return e
}

// Conflict says in which way an entry cannot stand in a catalog beside the others:
// under its name, or because its URL or certificate is there already. It is empty if
// there is no conflict.
func (c *Catalog) Conflict(e Entry) string {
	for _, other := range c.Entries {
		if compareEntries(e, other) == 0 {
			return fmt.Sprintf("%s certificate %q is already in line %d", e.Vendor, e.Name, other.Line)
		}
	}
	if other, what := c.byKey().find(e); what != "" {
		return fmt.Sprintf("%s certificate %q in line %d has the same %s", other.Vendor, other.Name, other.Line, what)
	}
	return ""
}

// Find returns the entries that pin a digest.
func (c *Catalog) Find(f Fingerprint) []Entry {
	var found []Entry
	for _, e := range c.Entries {
		if pin, ok := e.pin(f.Hash); ok && pin.String() == f.String() {
			found = append(found, e)
		}
	}
	return found
}
