package bundle

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// Source is one entry of a catalog and what became of the search for its
// certificate.
type Source struct {
	Entry Entry
	State SourceState
	// Pinned is the certificate that the entry means; nil if it is not to be had.
	Pinned *x509.Certificate
	// Other is what the URL serves in its place; nil unless the state is
	// [SourceChanged], or if those bytes are no certificate.
	Other *x509.Certificate
	// Err says, in one line, what is wrong with the URL or the store.
	Err error
}

// SourceState says where a certificate was found.
type SourceState string

// The states.
const (
	SourceStored  SourceState = "stored"  // in the store; the URL was not asked
	SourceServed  SourceState = "served"  // at the URL
	SourceChanged SourceState = "changed" // the URL serves other bytes
	SourceFailed  SourceState = "failed"  // the URL serves no certificate, or does not answer
)

// Fill looks for the certificates of the entries as [Fetcher.Fetch] does. What
// cannot be had is no error but the state of a source; the sources have the order of
// the entries.
func (f *Fetcher) Fill(ctx context.Context, entries []Entry) ([]Source, error) {
	return f.survey(ctx, entries, false)
}

// Refresh asks all URLs anew, whatever the store has. What a URL serves in place of
// its certificate is kept, if so asked, where nothing is built from.
func (f *Fetcher) Refresh(ctx context.Context, entries []Entry) ([]Source, error) {
	return f.survey(ctx, entries, true)
}

// Missing is a [*FetchError] that lists the certificates which are neither in the
// store nor at their URL; nil if there is none.
func Missing(sources []Source) error {
	e := &FetchError{Total: len(sources)}
	for _, s := range sources {
		if s.Pinned == nil {
			e.Failures = append(e.Failures, &Failure{s.Entry, s.Err})
		}
	}
	if len(e.Failures) > 0 {
		return e
	}
	return nil
}

func (f *Fetcher) survey(ctx context.Context, entries []Entry, anew bool) ([]Source, error) {
	switch {
	case f.Save && f.Store == nil:
		return nil, errors.New("no certificate store to save to")
	case anew && f.Offline:
		return nil, errors.New("no site can be asked without the network")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limits.BundleFetch,
		fmt.Errorf("the time for the whole job is used up (%v)", limits.BundleFetch))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	j := f.newJob(entries)
	defer j.client.CloseIdleConnections()
	for i, e := range entries {
		s := f.stored(e)
		if s.State != "" && !anew {
			j.finish(i, s)
			continue
		}
		j.sources[i] = s
		h := j.hosts[hostOf(e.URL)]
		h.queue = append(h.queue, i)
	}
	j.run(func(i int, h *host) Source {
		return j.ask(ctx, h, entries[i], j.sources[i].Pinned)
	}, func(s Source) Source {
		if !f.Save {
			return s
		}
		if s.State == SourceServed {
			if err := f.Store.Add(s.Pinned.Raw); err != nil {
				stop(err)
			}
		}
		if anew && s.Other != nil {
			if err := f.Store.addUnpinned(s.Other.Raw); err != nil {
				s.Err = fmt.Errorf("%w; not kept: %w", s.Err, err)
			}
		}
		return s
	})
	if errors.Is(ctx.Err(), context.Canceled) {
		// The caller gave up, or the store takes nothing: no list of consequences.
		return nil, context.Cause(ctx)
	}
	return j.sources, nil
}

var errOffline = errors.New("not in the certificate store")

// stored looks into the store. Without a state, the site is to be asked.
func (f *Fetcher) stored(e Entry) Source {
	if f.Store != nil {
		der, err := f.Store.find(e)
		switch {
		case der != nil:
			return pinned(SourceStored, e, der)
		case err != nil && (!f.Save || f.Offline): // else it is mended
			return Source{State: SourceFailed, Err: err}
		}
	}
	if f.Offline {
		return Source{State: SourceFailed, Err: hint.Wrap(errOffline, "fill the store where there is a network: sealsmith bundle fetch --store DIR")}
	}
	return Source{}
}

// pinned is a source whose certificate was found.
func pinned(state SourceState, e Entry, der []byte) Source {
	if err := e.check(der); err != nil {
		return Source{State: SourceFailed, Err: err}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Source{State: SourceFailed, Err: fmt.Errorf("the pinned certificate cannot be read: %w", err)}
	}
	return Source{State: state, Pinned: cert}
}

// ask gets a certificate from its site.
func (j *job) ask(ctx context.Context, h *host, e Entry, known *x509.Certificate) Source {
	der, err := j.fetch(ctx, h, e, known)
	if err == nil {
		return pinned(SourceServed, e, der)
	}
	s := Source{State: SourceFailed, Pinned: known, Err: err}
	if changed, ok := errors.AsType[*changedError](err); ok {
		s.State, s.Other = SourceChanged, changed.cert
	}
	return s
}
