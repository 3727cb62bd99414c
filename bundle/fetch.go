package bundle

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Certificate is one CA certificate and what the catalog calls it.
type Certificate struct {
	Vendor string // TCG vendor id
	Name   string
	X509   *x509.Certificate
}

// Fetcher gets the certificates of a catalog from a store and from the vendors'
// sites. The zero value uses the network only. It may be used concurrently.
type Fetcher struct {
	// Store is asked first: what it has needs no network. It may be nil.
	Store *Store
	// Save adds what was fetched, once it is verified, to the store.
	Save bool
	// Offline never uses the network.
	Offline bool
	// RootCAs judge the sites' TLS certificates; nil means the system's.
	RootCAs *x509.CertPool
	// Progress is told how many certificates are there or given up, of how
	// many; one call at a time. It may be nil.
	Progress func(done, total int)

	pace pace
}

// pace is what tests make shorter; zero values mean the limits.
type pace struct {
	stall, attempt, backoff, retryAfter time.Duration
}

// or fills in the limits.
func (p pace) or() pace {
	fill := func(d *time.Duration, limit time.Duration) {
		if *d == 0 {
			*d = limit
		}
	}
	fill(&p.stall, limits.BundleStall)
	fill(&p.attempt, limits.BundleAttempt)
	fill(&p.backoff, limits.BundleBackoff)
	fill(&p.retryAfter, limits.BundleRetryAfter)
	return p
}

// Fetch returns the certificates of the entries, in their order. All digests
// that an entry pins are checked. A site may redirect only to https and to hosts
// of the entries.
//
// If any certificate cannot be had, the rest is still fetched (and saved, if so
// asked), and the error is a [*FetchError].
func (f *Fetcher) Fetch(ctx context.Context, entries []Entry) ([]Certificate, error) {
	sources, err := f.Fill(ctx, entries)
	if err != nil {
		return nil, err
	}
	if err := Missing(sources); err != nil {
		return nil, err
	}
	certs := make([]Certificate, len(sources))
	for i, s := range sources {
		certs[i] = Certificate{Vendor: s.Entry.Vendor, Name: s.Entry.Name, X509: s.Pinned}
	}
	return certs, nil
}
