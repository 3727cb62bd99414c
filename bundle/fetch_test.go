package bundle

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// site is a vendor's TLS server with a throw-away CA.
type site struct {
	*httptest.Server
	requests atomic.Int64
}

// quiet takes the complaints of test servers about clients that hang up.
var quiet = log.New(io.Discard, "", 0)

func newSite(t testing.TB, h http.HandlerFunc, setup ...func(*httptest.Server)) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		h(w, r)
	}))
	s.Config.ErrorLog = quiet
	for _, change := range setup {
		change(s.Server)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// fetcher trusts the site and does not wait between attempts.
func (s *site) fetcher() *Fetcher {
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &Fetcher{RootCAs: roots, pace: pace{backoff: time.Millisecond}}
}

// speaks makes a site speak one protocol only, and see that it does.
func speaks(protocol int) func(*httptest.Server) {
	return func(s *httptest.Server) {
		s.EnableHTTP2 = protocol == 2
		next := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != protocol {
				w.WriteHeader(http.StatusHTTPVersionNotSupported)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func serve(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

// then answers a server's nth request with the nth handler, the last for ever.
func then(handlers ...http.HandlerFunc) http.HandlerFunc {
	var requests sync.Map
	return func(w http.ResponseWriter, r *http.Request) {
		n, _ := requests.LoadOrStore(r.Context().Value(http.ServerContextKey), new(atomic.Int64))
		i := min(int(n.(*atomic.Int64).Add(1)), len(handlers)) - 1
		handlers[i](w, r)
	}
}

// reset cuts the connection before the answer.
func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// silent never answers; the client must give up.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func gzipped(body []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(body)
	w.Close()
	return out.Bytes()
}

// bomb is 16 MiB in 16 kB.
var bomb = sync.OnceValue(func() []byte { return gzipped(make([]byte, 16<<20)) })

// TestFetchFaults: what a site can do, and what the person reads. An empty
// reason is success. Nothing that fails enters the store.
func TestFetchFaults(t *testing.T) {
	cert, other := testCA(t, "IFX", 1), testCA(t, "IFX", 2)
	der := cert.X509.Raw
	again := template(1, "IFX CA 1")
	again.NotBefore = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	reissued := selfSigned(t, again)
	stranger := newSite(t, serve(der))
	short := pace{stall: 300 * time.Millisecond, backoff: time.Millisecond}
	for _, c := range []struct {
		name     string
		handler  http.HandlerFunc
		reason   string
		requests int64
		pace     pace
	}{
		{"DER", serve(der), "", 1, pace{}},
		{"PEM", serve(pemOf(der)), "", 1, pace{}},
		{"PEM with CRLF", serve(bytes.ReplaceAll(pemOf(der), []byte("\n"), []byte("\r\n"))), "", 1, pace{}},
		{"PEM with text around", serve(append(append([]byte("Our CA\n"), pemOf(der)...), "bye\n"...)), "", 1, pace{}},
		{"base64", serve([]byte(base64.StdEncoding.EncodeToString(der))), "", 1, pace{}},
		{"wrong type", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Write(der)
		}, "", 1, pace{}},
		{"gzip", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(gzipped(der))
		}, "", 1, pace{}},
		{"another certificate", serve(selfSigned(t, template(7, "new")).Raw), "another certificate: its SHA-1 digest is", 1, pace{}},
		{"certificate of another entry", serve(other.X509.Raw), `this is IFX "IFX CA 2" of the list`, 1, pace{}},
		{"re-issued", serve(reissued.Raw), `it is "CN=IFX CA 1,O=Example\\, Inc.,C=DE" with validity 2026-04-01 to 9999-12-31`, 1, pace{}},
		{"no certificate but DER", serve([]byte("0\x03\x02\x01\x00")), "no certificate can be read from it", 1, pace{}},
		{"hostile name", serve(selfSigned(t, template(7, "\x1b[2J\u202e")).Raw), `it is "CN=\x1b[2J\u202e,O=`, 1, pace{}},
		{"flipped bit", serve(append(bytes.Clone(der[:len(der)-1]), der[len(der)-1]^1)), "another certificate", 1, pace{}},
		{"trailing bytes", serve(append(bytes.Clone(der), "more"...)), "4 bytes came after the certificate", 1, pace{}},
		{"two PEM blocks", serve(append(pemOf(der), pemOf(other.X509.Raw)...)), "2 PEM blocks came", 1, pace{}},
		{"HTML", serve([]byte("<html>Welcome</html>")), "an HTML or XML page came", 1, pace{}},
		{"random bytes", serve([]byte("\x8f\x1b[2Jxyz")), "8 bytes came that are neither DER nor PEM", 1, pace{}},
		{"empty", serve(nil), "an empty body came", 1, pace{}},
		{"no content", status(204), "status 204 No Content", 1, pace{}},
		{"not found", status(404), "status 404 Not Found", 1, pace{}},
		{"forbidden", status(403), "status 403 Forbidden", 1, pace{}},
		{"unknown status", status(799), "status 799", 1, pace{}},
		{"server error", status(500), "status 500 Internal Server Error", limits.BundleTries, pace{}},
		{"unavailable twice", then(status(503), status(503), serve(der)), "", 3, pace{}},
		{"too many requests", status(429), "status 429 Too Many Requests", limits.BundleTries, pace{}},
		// The pause of our own would outlast the test.
		{"come back now", then(status(429, "Retry-After", "0"), serve(der)), "", 2, pace{backoff: time.Hour}},
		{"come back much later", status(503, "Retry-After", "3600"), "asks to come back after 1h0m0s, longer than 30s", 1, pace{}},
		{"come back in 2099", status(503, "Retry-After", "Fri, 01 Jan 2099 00:00:00 GMT"), "longer than 30s", 1, pace{}},
		{"reset", reset, "no answer: ", limits.BundleTries, pace{}},
		{"reset once", then(reset, serve(der)), "", 2, pace{}},
		{"truncated", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Write(der[:100])
		}, "the answer broke off after 100 bytes: unexpected EOF", limits.BundleTries, pace{}},
		{"silent", silent, "no answer in time: nothing came for 300ms", limits.BundleTimeouts, short},
		{"silent once", then(silent, serve(der)), "", 2, pace{stall: time.Second, backoff: time.Millisecond}},
		{"slow header", func(w http.ResponseWriter, r *http.Request) {
			hijacker, ok := w.(http.Hijacker)
			if !ok { // HTTP/2 sends headers in one piece
				silent(w, r)
				return
			}
			conn, _, err := hijacker.Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			for text := "HTTP/1.1 200 OK\r\nX-Slow: "; err == nil; text = "x" {
				_, err = conn.Write([]byte(text))
				time.Sleep(time.Millisecond)
			}
		}, "no answer in time: nothing came for 300ms", limits.BundleTimeouts, short},
		{"stops in the middle", func(w http.ResponseWriter, r *http.Request) {
			w.Write(der[:100])
			http.NewResponseController(w).Flush()
			silent(w, r)
		}, "no answer in time: nothing came for 300ms", limits.BundleTimeouts, short},
		{"slow for ever", func(w http.ResponseWriter, r *http.Request) {
			for i := 0; r.Context().Err() == nil; i++ {
				w.Write(der[i%len(der) : i%len(der)+1])
				http.NewResponseController(w).Flush()
				time.Sleep(time.Millisecond)
			}
		}, "no answer in time: not done after 300ms", limits.BundleTimeouts, pace{attempt: 300 * time.Millisecond, backoff: time.Millisecond}},
		{"huge by its own word", status(200, "Content-Length", "10000000000"), "more than 65536 bytes came", 1, pace{}},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for chunk := make([]byte, 32<<10); r.Context().Err() == nil; {
				w.Write(chunk)
			}
		}, "more than 65536 bytes came", 1, pace{}},
		{"gzip bomb", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb())
		}, "more than 65536 bytes came", 1, pace{}},
		{"huge header", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 64 {
				w.Header().Set(fmt.Sprint("X", i), strings.Repeat("x", 1<<10))
			}
		}, "no answer: ", limits.BundleTries, pace{}},
		{"redirect on the host", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/moved" {
				http.Redirect(w, r, "/moved", http.StatusFound)
				return
			}
			w.Write(der)
		}, "", 2, pace{}},
		{"redirect to http", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+"/x", http.StatusFound)
		}, "which is not https", 1, pace{}},
		{"redirect to another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, stranger.URL, http.StatusMovedPermanently)
		}, "a host that the catalog does not list", 1, pace{}},
		{"redirect with credentials", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://me:secret@"+r.Host, http.StatusFound)
		}, "a URL with credentials", 1, pace{}},
		{"redirect loop", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}, "redirects more than 5 times", limits.BundleRedirects + 1, pace{}},
	} {
		for _, protocol := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/HTTP %d", c.name, protocol), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, c.handler, speaks(protocol))
				f := s.fetcher()
				if c.pace != (pace{}) {
					f.pace = c.pace
				}
				f.Store, f.Save = newStore(t, other), true
				certs, err := f.Fetch(t.Context(), []Entry{entry(cert, s.URL+"/one.crt"), entry(other, s.URL+"/two.crt")})
				if n := s.requests.Load(); n != c.requests {
					t.Errorf("%d requests, want %d", n, c.requests)
				}
				if saved := has(f.Store, der); saved != (c.reason == "") {
					t.Errorf("in the store: %v", saved)
				}
				if c.reason == "" {
					if err != nil || len(certs) != 2 || !certs[0].X509.Equal(cert.X509) || certs[0].Name != cert.Name {
						t.Errorf("got %v, %v", certs, err)
					}
					return
				}
				wantError(t, err, "1 of 2 certificates cannot be had:\n  1 at "+hostOf(s.URL)+":\n    IFX \"IFX CA 1\" "+s.URL+"/one.crt: ", c.reason)
				if strings.Contains(err.Error(), "secret") || strings.Count(err.Error(), "\n") != 2 {
					t.Errorf("error is %q", err)
				}
				if files, err := os.ReadDir(f.Store.dir); err != nil || len(files) != 1 {
					t.Errorf("the store has %v, %v", files, err)
				}
			})
		}
	}
	t.Cleanup(func() {
		if n := stranger.requests.Load(); n > 0 {
			t.Errorf("a host outside the catalog got %d requests", n)
		}
	})
}

// TestRedirectToTheSameHost, in another spelling.
func TestRedirectToTheSameHost(t *testing.T) {
	f := &Fetcher{}
	j := f.newJob([]Entry{entry(testCA(t, "IFX", 1), "https://pki.example/1"), entry(testCA(t, "IFX", 2), "https://pki.example:8443/2")})
	go func() {
		for event := range j.events {
			event()
		}
	}()
	defer close(j.events)
	from := httptest.NewRequest(http.MethodGet, "https://pki.example/1", nil)
	for target, want := range map[string]string{
		"https://PKI.Example/2":        "",
		"https://pki.example:443/2":    "",
		"https://PKI.EXAMPLE:8443/2":   "",
		"https://pki.example:8444/2":   "a host that the catalog does not list",
		"https://pki.example.:443/2":   "a host that the catalog does not list",
		"https://pki.example:443:44/2": "a host that the catalog does not list",
	} {
		to := from.Clone(t.Context())
		to.URL.Host = strings.Split(target, "/")[2]
		err := j.checkRedirect(to, []*http.Request{from})
		if want != "" {
			wantError(t, err, want)
			continue
		}
		if back := j.checkRedirect(from, []*http.Request{to}); err != nil || back != nil {
			t.Errorf("%s: %v, and back: %v", target, err, back)
		}
	}
}

// TestFetchTLS: a site that cannot prove its name, or does not speak TLS, is
// asked once.
func TestFetchTLS(t *testing.T) {
	cert := testCA(t, "IFX", 1)
	s := newSite(t, serve(cert.X509.Raw))
	plain := httptest.NewServer(serve(cert.X509.Raw))
	t.Cleanup(plain.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	noName := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	for _, c := range []struct {
		name, url, want string
		roots           *x509.CertPool
	}{
		{"unknown CA", s.URL, "certificate signed by unknown authority", x509.NewCertPool()},
		{"wrong name", noName, "not localhost", s.fetcher().RootCAs},
		{"plain HTTP", strings.Replace(plain.URL, "http:", "https:", 1), "HTTP response to HTTPS client", nil},
		{"nobody there", strings.Replace(closed.URL, "http:", "https:", 1), "connection refused", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &Fetcher{RootCAs: c.roots, pace: pace{backoff: time.Hour}}
			_, err := f.Fetch(t.Context(), []Entry{entry(cert, c.url)})
			wantError(t, err, c.want)
		})
	}
	if n := s.requests.Load(); n != 0 {
		t.Errorf("%d requests were sent to a server that is not trusted", n)
	}
}

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
