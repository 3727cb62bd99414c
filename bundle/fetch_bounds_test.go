package bundle

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// TestFetchIsBoundedAndParallel: as many requests at once as allowed, no more.
func TestFetchIsBoundedAndParallel(t *testing.T) {
	var mu sync.Mutex
	var now, most int
	full := make(chan struct{})
	release := sync.OnceFunc(func() { close(full) })
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now++
		if most = max(most, now); now == limits.BundleWorkersPerHost {
			release() // all slots are taken: let them go
		}
		mu.Unlock()
		select {
		case <-full:
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb())
		mu.Lock()
		now--
		mu.Unlock()
	})
	f := s.fetcher()
	var entries []Entry
	for n := range limits.BundleWorkersPerHost {
		entries = append(entries, entry(testCA(t, "IFX", int64(n+1)), fmt.Sprintf("%s/%d", s.URL, n)))
	}
	for n := range 2 * limits.BundleWorkersPerHost {
		e := entries[n%len(entries)]
		e.URL += "/again"
		entries = append(entries, e)
	}
	_, err := f.Fetch(t.Context(), entries)
	wantError(t, err, "more than 65536 bytes came")
	if most != limits.BundleWorkersPerHost {
		t.Errorf("%d requests at once, want %d", most, limits.BundleWorkersPerHost)
	}
}

// TestFetchIsBoundedInAll: and of several hosts together. Each is spoken to over one
// connection if it can.
func TestFetchIsBoundedInAll(t *testing.T) {
	var mu sync.Mutex
	var now, most, connections int
	full := make(chan struct{})
	release := sync.OnceFunc(func() { close(full) })
	cert := testCA(t, "IFX", 1)
	roots := x509.NewCertPool()
	var entries []Entry
	for range 3 {
		s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			if now++; now == limits.BundleWorkers {
				release()
			}
			most = max(most, now)
			mu.Unlock()
			select {
			case <-full:
			case <-r.Context().Done():
			}
			w.Write(cert.X509.Raw)
			mu.Lock()
			now--
			mu.Unlock()
		}, speaks(2), func(s *httptest.Server) {
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					mu.Lock()
					connections++
					mu.Unlock()
				}
			}
		})
		roots.AddCert(s.Certificate())
		for n := range 2 * limits.BundleWorkersPerHost {
			entries = append(entries, entry(cert, fmt.Sprintf("%s/%d", s.URL, n)))
		}
	}
	f := &Fetcher{RootCAs: roots, pace: pace{backoff: time.Millisecond}}
	if _, err := f.Fetch(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	if most != limits.BundleWorkers || connections != 3 {
		t.Errorf("%d requests at once, want %d; %d connections", most, limits.BundleWorkers, connections)
	}
}

// TestRunIsBounded: no more is asked at once than all, one host, and one without a
// connection allow.
func TestRunIsBounded(t *testing.T) {
	for _, c := range []struct{ hosts, limit, want int }{
		{3, limits.BundleWorkersPerHost, limits.BundleWorkers},
		{1, limits.BundleWorkersPerHost, limits.BundleWorkersPerHost},
		{3, 1, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			var entries []Entry
			for i := range 2 * limits.BundleWorkers {
				entries = append(entries, Entry{URL: fmt.Sprintf("https://%d.example/%d", i%c.hosts, i)})
			}
			j := (&Fetcher{}).newJob(entries)
			for i, e := range entries {
				h := j.hosts[hostOf(e.URL)]
				h.limit, h.queue = c.limit, append(h.queue, i)
			}
			var asked atomic.Int64
			answer := make(chan struct{})
			go j.run(func(int, *host) Source {
				asked.Add(1)
				<-answer
				return Source{}
			}, func(s Source) Source { return s })
			synctest.Wait()
			if n := asked.Load(); int(n) != c.want {
				t.Errorf("%+v: %d at once", c, n)
			}
			close(answer)
			synctest.Wait()
			if n := asked.Load(); int(n) != len(entries) || j.done != len(entries) {
				t.Errorf("%+v: %d asked, %d done", c, n, j.done)
			}
		})
	}
}

// TestFetchMemory: what comes over the limit is not even held. HTTP/2 lets a site
// send on before it is read, so the bound is not the limit itself.
func TestFetchMemory(t *testing.T) {
	packed, chunk := bomb(), make([]byte, 32<<10)
	for name, handler := range map[string]http.HandlerFunc{
		"bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(packed)
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write(chunk)
			}
		},
		"huge by its own word": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10000000000")
			for r.Context().Err() == nil {
				w.Write(chunk)
			}
		},
	} {
		for _, protocol := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/HTTP %d", name, protocol), func(t *testing.T) {
				s := newSite(t, handler, speaks(protocol))
				f := s.fetcher()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := f.Fetch(t.Context(), []Entry{entry(testCA(t, "IFX", 1), s.URL)})
				runtime.ReadMemStats(&after)
				wantError(t, err, "more than 65536 bytes came")
				if n := after.TotalAlloc - before.TotalAlloc; n > 2<<20 {
					t.Errorf("cost %d bytes", n)
				}
			})
		}
	}
}
