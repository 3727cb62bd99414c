package bundle

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// TestFetchListsAllFailures: one bad site does not hide another, and the rest is
// fetched and kept.
func TestFetchListsAllFailures(t *testing.T) {
	var certs []Certificate
	var entries []Entry
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscanf(r.URL.Path, "/%d", &n)
		if n%3 == 0 {
			http.NotFound(w, r)
			return
		}
		if r.ProtoMajor != 2 {
			t.Errorf("request by %s", r.Proto)
		}
		w.Write(certs[n].X509.Raw)
	}, func(s *httptest.Server) { s.EnableHTTP2 = true })
	for n := range 30 {
		certs = append(certs, testCA(t, "IFX", int64(n+1)))
		entries = append(entries, entry(certs[n], fmt.Sprintf("%s/%d", s.URL, n)))
	}
	f := s.fetcher()
	f.Store, f.Save = newStore(t), true
	var seen []int
	f.Progress = func(done, total int) {
		if seen = append(seen, done); total != 30 {
			t.Errorf("total is %d", total)
		}
	}
	_, err := f.Fetch(t.Context(), entries)
	failed, ok := errors.AsType[*FetchError](err)
	if !ok || failed.Total != 30 || len(failed.Failures) != 10 || len(failed.Unwrap()) != 10 {
		t.Fatalf("got %v", err)
	}
	for i, failure := range failed.Failures {
		if failure.Entry.URL != entries[3*i].URL {
			t.Errorf("failure %d is %v", i, failure)
		}
	}
	for n, c := range certs {
		if has(f.Store, c.X509.Raw) != (n%3 != 0) {
			t.Errorf("certificate %d: in the store: %v", n, n%3 == 0)
		}
	}
	if len(seen) != 30 || !slices.IsSorted(seen) {
		t.Errorf("progress was %v", seen)
	}
}

func TestFetchCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		silent(w, r)
	})
	if _, err := s.fetcher().Fetch(ctx, []Entry{entry(testCA(t, "IFX", 1), s.URL)}); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestFetchStoreFirst(t *testing.T) {
	kept, missing := testCA(t, "IFX", 1), testCA(t, "IFX", 2)
	s := newSite(t, serve(missing.X509.Raw))
	f := s.fetcher()
	f.Store = newStore(t, kept)
	entries := []Entry{entry(kept, s.URL+"/kept"), entry(missing, s.URL+"/missing")}

	f.Offline = true
	_, err := f.Fetch(t.Context(), entries)
	wantError(t, err, "1 of 2 certificates", s.URL+"/missing: not in the certificate store")
	if s.requests.Load() != 0 || len(hint.Of(err)) != 1 {
		t.Errorf("%d requests, hints %q", s.requests.Load(), hint.Of(err))
	}

	f.Offline = false
	if _, err := f.Fetch(t.Context(), entries); err != nil || s.requests.Load() != 1 || has(f.Store, missing.X509.Raw) {
		t.Errorf("%v after %d requests, saved without being asked: %v", err, s.requests.Load(), has(f.Store, missing.X509.Raw))
	}

	// All pins count for bytes of the store, too.
	wrong := entries[0]
	wrong.Fingerprints = []Fingerprint{fingerprint(crypto.SHA1, nil), entries[0].Fingerprints[1]}
	_, err = f.Fetch(t.Context(), []Entry{wrong})
	wantError(t, err, "another certificate: its SHA-1 digest is")

	_, err = (&Fetcher{Save: true}).Fetch(t.Context(), entries)
	wantError(t, err, "no certificate store to save to")
}

func TestNoNetwork(t *testing.T) {
	err := judge(&url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: &net.DNSError{Name: "pki.example", IsNotFound: true}}})
	if _, permanent := errors.AsType[*backoff.PermanentError](err); !permanent || len(hint.Of(err)) != 1 {
		t.Errorf("got %v with hints %q", err, hint.Of(err))
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 4, 11, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		header string
		want   time.Duration
		ok     bool
	}{
		{"5", 5 * time.Second, true},
		{"Sat, 11 Apr 2026 12:00:07 GMT", 7 * time.Second, true},
		{"Sat, 11 Apr 2026 11:00:00 GMT", 0, true},
		{"", 0, false},
		{"-1", 0, false},
		{"99999999999999999999", 0, false},
		{"soon", 0, false},
	} {
		if got, ok := retryAfter(c.header, now); got != c.want || ok != c.ok {
			t.Errorf("%q: %v, %v", c.header, got, ok)
		}
	}
}
