package bundle

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

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
	old := newSite(t, serve(cert.X509.Raw), func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	})
	noName := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	for _, c := range []struct {
		name, url, want string
		roots           *x509.CertPool
	}{
		{"unknown CA", s.URL, "certificate signed by unknown authority", x509.NewCertPool()},
		{"TLS 1.1", old.URL, "tls: protocol version not supported", old.fetcher().RootCAs},
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
	if n := s.requests.Load() + old.requests.Load(); n != 0 {
		t.Errorf("%d requests were sent to a server that is not trusted", n)
	}
}
