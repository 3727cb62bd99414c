package bundle

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
