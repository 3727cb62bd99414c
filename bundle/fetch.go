package bundle

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sealsmith/sealsmith/internal/hint"
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
	stall, backoff, retryAfter time.Duration
}

// or fills in the limits.
func (p pace) or() pace {
	fill := func(d *time.Duration, limit time.Duration) {
		if *d == 0 {
			*d = limit
		}
	}
	fill(&p.stall, limits.BundleStall)
	fill(&p.backoff, limits.BundleBackoff)
	fill(&p.retryAfter, limits.BundleRetryAfter)
	return p
}

// Failure is one certificate that could not be had.
type Failure struct {
	Entry Entry
	Err   error
}

// Error implements error, in one line.
func (f *Failure) Error() string {
	return fmt.Sprintf("%s %q %s: %s", f.Entry.Vendor, f.Entry.Name, f.Entry.URL, oneLine(f.Err.Error()))
}

// Unwrap returns the reason.
func (f *Failure) Unwrap() error { return f.Err }

// FetchError lists all certificates that could not be had.
type FetchError struct {
	Total    int // how many were wanted
	Failures []*Failure
}

// Error implements error: a line for the count and one for each failure.
func (e *FetchError) Error() string {
	s := fmt.Sprintf("%d of %d certificates cannot be had:", len(e.Failures), e.Total)
	for _, f := range e.Failures {
		s += "\n  " + f.Error()
	}
	return s
}

// Unwrap returns the failures.
func (e *FetchError) Unwrap() []error {
	errs := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		errs[i] = f
	}
	return errs
}

// oneLine makes an error's text, which may repeat what a site sent, fit to be
// shown.
func oneLine(s string) string {
	if len(s) > limits.BundleText || checkPrintable(s) != nil {
		return quote(s)
	}
	return s
}

// Fetch returns the certificates of the entries, in their order. All digests
// that an entry pins are checked. A site may redirect only to https and to hosts
// of the entries.
//
// If any certificate cannot be had, the rest is still fetched (and saved, if so
// asked), and the error is a [*FetchError].
func (f *Fetcher) Fetch(ctx context.Context, entries []Entry) ([]Certificate, error) {
	if f.Save && f.Store == nil {
		return nil, errors.New("no certificate store to save to")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limits.BundleFetch,
		fmt.Errorf("the time for the whole job is used up (%v)", limits.BundleFetch))
	defer cancel()
	j := f.newJob(entries)
	defer j.client.CloseIdleConnections()
	var wg sync.WaitGroup
	for i, e := range entries {
		// The store is quick: it needs no goroutine.
		if der, err := f.fromStore(e); der != nil || err != nil {
			j.finish(i, der, err)
			continue
		}
		wg.Go(func() {
			der, err := j.fetch(ctx, e)
			j.finish(i, der, err)
		})
	}
	wg.Wait()
	certs, err := j.result()
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil, context.Cause(ctx) // the caller gave up: no list of consequences
	}
	return certs, err
}

var errOffline = errors.New("not in the certificate store")

func (f *Fetcher) fromStore(e Entry) ([]byte, error) {
	if f.Store != nil {
		der, err := f.Store.find(e)
		if err != nil {
			return nil, err
		}
		if der != nil {
			return der, e.check(der)
		}
	}
	if f.Offline {
		return nil, hint.Wrap(errOffline, "without --offline, it is fetched from the vendor's site")
	}
	return nil, nil
}

// job is one call of Fetch.
type job struct {
	*Fetcher
	pace    pace
	client  *http.Client
	entries []Entry
	byPin   map[string]Entry         // by each fingerprint
	hosts   map[string]chan struct{} // slots of each host
	slots   chan struct{}

	mu    sync.Mutex // guards what follows
	done  int
	certs []Certificate
	errs  []error
}

func (f *Fetcher) newJob(entries []Entry) *job {
	j := &job{
		Fetcher: f,
		pace:    f.pace.or(),
		entries: entries,
		byPin:   map[string]Entry{},
		hosts:   map[string]chan struct{}{},
		slots:   make(chan struct{}, limits.BundleWorkers),
		certs:   make([]Certificate, len(entries)),
		errs:    make([]error, len(entries)),
	}
	for _, e := range entries {
		for _, pin := range e.Fingerprints {
			j.byPin[pin.String()] = e
		}
		if host := hostOf(e.URL); j.hosts[host] == nil {
			j.hosts[host] = make(chan struct{}, limits.BundleWorkersPerHost)
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
func (j *job) finish(i int, der []byte, err error) {
	e := j.entries[i]
	cert := Certificate{Vendor: e.Vendor, Name: e.Name}
	if err == nil {
		if cert.X509, err = x509.ParseCertificate(der); err != nil {
			err = fmt.Errorf("the pinned certificate cannot be read: %w", err)
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.certs[i], j.errs[i] = cert, err
	j.done++
	if j.Progress != nil {
		j.Progress(j.done, len(j.entries))
	}
}

// result is called when all is finished.
func (j *job) result() ([]Certificate, error) {
	var failures []*Failure
	for i, err := range j.errs {
		if err != nil {
			failures = append(failures, &Failure{j.entries[i], err})
		}
	}
	if len(failures) > 0 {
		return nil, &FetchError{len(j.entries), failures}
	}
	return j.certs, nil
}

// fetch gets one certificate from its site, trying again as far as that makes
// sense.
func (j *job) fetch(ctx context.Context, e Entry) ([]byte, error) {
	for _, slots := range []chan struct{}{j.hosts[hostOf(e.URL)], j.slots} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = j.pace.backoff
	timeouts := 0
	der, err := backoff.Retry(ctx, func() ([]byte, error) {
		body, err := j.get(ctx, e.URL)
		if errors.Is(err, errTimeout) {
			if timeouts++; timeouts == limits.BundleTimeouts {
				err = backoff.Permanent(err)
			}
		}
		if err != nil {
			return nil, err
		}
		der, err := j.verify(e, body)
		return der, backoff.Permanent(err)
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(limits.BundleTries), backoff.WithMaxElapsedTime(limits.BundleRetrying))
	if permanent, ok := errors.AsType[*backoff.PermanentError](err); ok {
		err = permanent.Err // at the last try, Retry leaves it in
	}
	if err == nil && j.Save {
		err = j.Store.Add(der)
	}
	return der, err
}

// verify returns the certificate in a body if it is the pinned one.
func (j *job) verify(e Entry, body []byte) ([]byte, error) {
	der, err := bodyDER(body)
	if err != nil {
		return nil, err
	}
	mismatch := e.check(der)
	if mismatch == nil {
		return der, nil
	}
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if other, listed := j.byPin[fingerprint(h, der).String()]; listed && other.check(der) == nil {
			return nil, fmt.Errorf("%w; this is %s %q of the list", mismatch, other.Vendor, other.Name)
		}
	}
	return nil, mismatch
}
