package bundle

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

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

// job is one survey of the entries.
type job struct {
	*Fetcher
	pace    pace
	client  *http.Client
	entries []Entry
	byPin   map[string]Entry // by each fingerprint
	hosts   map[string]*host
	slots   chan struct{}

	mu      sync.Mutex // guards what follows
	done    int
	sources []Source
}

// host is what a job knows of a site.
type host struct {
	slots chan struct{} // as many as requests may be under way

	mu      sync.Mutex // guards what follows
	answers bool       // to one request, at least
	gone    error      // why it is not asked any more
}

// answered notes that there is a server.
func (h *host) answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers = true
}

// failed notes that the server was not there, unless it was for another request.
func (h *host) failed(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.answers {
		h.gone = err
	}
}

// why the server needs not be asked again; nil if it should be.
func (h *host) why() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gone
}

func (f *Fetcher) newJob(entries []Entry) *job {
	j := &job{
		Fetcher: f,
		pace:    f.pace.or(),
		entries: entries,
		byPin:   map[string]Entry{},
		hosts:   map[string]*host{},
		slots:   make(chan struct{}, limits.BundleWorkers),
		sources: make([]Source, len(entries)),
	}
	for _, e := range entries {
		for _, pin := range e.Fingerprints {
			j.byPin[pin.String()] = e
		}
		if name := hostOf(e.URL); j.hosts[name] == nil {
			j.hosts[name] = &host{slots: make(chan struct{}, limits.BundleWorkersPerHost)}
		}
	}
	j.client = j.newClient()
	return j
}

// hostOf is the host and port of an entry's URL, which the catalog's parser has
// checked.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Host
}

// finish records the outcome of one entry.
func (j *job) finish(i int, s Source) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.Entry = j.entries[i]
	j.sources[i] = s
	j.done++
	if j.Progress != nil {
		j.Progress(j.done, len(j.entries))
	}
}

// fetch gets one certificate from its site, when it is its turn.
func (j *job) fetch(ctx context.Context, e Entry, known *x509.Certificate) ([]byte, error) {
	h := j.hosts[hostOf(e.URL)]
	for _, slots := range []chan struct{}{h.slots, j.slots} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	// All certificates of a dead site together cost the time of one.
	if err := h.why(); err != nil {
		return nil, err
	}
	der, err := j.try(ctx, e, known, h)
	if _, nobody := errors.AsType[*nobodyError](err); nobody || errors.Is(err, errTimeout) {
		h.failed(err)
	}
	return der, err
}

// try makes requests as long as that makes sense.
func (j *job) try(ctx context.Context, e Entry, known *x509.Certificate, h *host) ([]byte, error) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = j.pace.backoff
	timeouts := 0
	der, err := backoff.Retry(ctx, func() ([]byte, error) {
		body, err := j.get(ctx, e.URL, h)
		if errors.Is(err, errTimeout) {
			if timeouts++; timeouts == limits.BundleTimeouts {
				err = backoff.Permanent(err)
			}
		}
		if err != nil {
			return nil, err
		}
		der, err := j.verify(e, body, known)
		return der, backoff.Permanent(err)
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(limits.BundleTries), backoff.WithMaxElapsedTime(limits.BundleRetrying))
	if permanent, ok := errors.AsType[*backoff.PermanentError](err); ok {
		err = permanent.Err // at the last try, Retry leaves it in
	}
	return der, err
}
