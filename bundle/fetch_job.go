package bundle

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/cenkalti/backoff/v5"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// job is one survey of the entries. Its state belongs to the goroutine that runs
// [job.run]; those that ask change it by events.
type job struct {
	*Fetcher
	pace    pace
	client  *http.Client
	entries []Entry
	byPin   map[string]Entry // by each fingerprint
	hosts   map[string]*host
	order   []*host // of the entries
	events  chan func()
	done    int
	sources []Source
}

// host is what a job knows of a site.
type host struct {
	queue   []int // the entries that it is still to be asked for
	running int   // requests that are under way
	// limit of those. The first makes a connection alone: by HTTP/2 the others share
	// it.
	limit   int
	answers bool // to one request, at least
}

func (f *Fetcher) newJob(entries []Entry) *job {
	j := &job{
		Fetcher: f,
		pace:    f.pace.or(),
		entries: entries,
		byPin:   map[string]Entry{},
		hosts:   map[string]*host{},
		events:  make(chan func()),
		sources: make([]Source, len(entries)),
	}
	for _, e := range entries {
		for _, pin := range e.Fingerprints {
			j.byPin[pin.String()] = e
		}
		if name := hostOf(e.URL); j.hosts[name] == nil {
			h := &host{limit: 1}
			j.hosts[name], j.order = h, append(j.order, h)
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
	return siteOf(u)
}

// siteOf is the host and port of a URL in one spelling.
func siteOf(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Host), ":443") }

// finish records the outcome of one entry.
func (j *job) finish(i int, s Source) {
	s.Entry = j.entries[i]
	j.sources[i] = s
	j.done++
	if j.Progress != nil {
		j.Progress(j.done, len(j.entries))
	}
}

// run asks for all entries in the queues and keeps what came. What ask and keep do
// happens in many goroutines.
func (j *job) run(ask func(i int, h *host) Source, keep func(Source) Source) {
	running, keeping := 0, 0
	for {
		h := j.next()
		switch {
		case h != nil && running < limits.BundleWorkers:
			i := h.queue[0]
			h.queue = h.queue[1:]
			h.running++
			running++
			keeping++
			go func() {
				s := ask(i, h)
				j.events <- func() { // the site need not wait for our disk
					h.running--
					running--
					j.giveUp(h, s.Err)
				}
				kept := keep(s)
				j.events <- func() {
					keeping--
					j.finish(i, kept)
				}
			}()
		case keeping > 0:
			(<-j.events)()
		default:
			return
		}
	}
}

// next is the host that has most left to be asked for, of those that may be asked now:
// it decides when all is done. It is nil if there is none.
func (j *job) next() (most *host) {
	for _, h := range j.order {
		if h.running < h.limit && len(h.queue) > 0 && (most == nil || len(h.queue) > len(most.queue)) {
			most = h
		}
	}
	return most
}

// giveUp ends the queue of a host that is not there: all certificates of a dead site
// together cost the time of one.
func (j *job) giveUp(h *host, err error) {
	if err == nil || h.answers || h.limit > 1 && !errors.Is(err, errTimeout) {
		return
	}
	for _, i := range h.queue {
		j.finish(i, Source{State: SourceFailed, Pinned: j.sources[i].Pinned, Err: err})
	}
	h.queue = nil
}

// connected notes that there is a connection to the host.
func (j *job) connected(h *host) {
	j.events <- func() { h.limit = limits.BundleWorkersPerHost }
}

// answered notes that the host answered.
func (j *job) answered(h *host) {
	j.events <- func() { h.answers = true }
}

// fetch gets one certificate from its site, trying again as far as that makes
// sense.
func (j *job) fetch(ctx context.Context, h *host, e Entry, known *x509.Certificate) ([]byte, error) {
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
