package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// vendor is a site of CA certificates, which our programs trust, and a catalog of it.
type vendor struct {
	*httptest.Server
	key      *ecdsa.PrivateKey
	certs    [][]byte
	requests atomic.Int64

	mu     sync.Mutex
	answer map[int]http.HandlerFunc // for the nth certificate; nil serves it
}

func newVendor(t *testing.T, w *world, certs int) *vendor {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v := &vendor{key: key, answer: map[int]http.HandlerFunc{}}
	for n := range certs {
		v.certs = append(v.certs, v.certificate(t, n, 30*24*time.Hour))
	}
	v.Server = httptest.NewUnstartedServer(http.HandlerFunc(v.serve))
	v.EnableHTTP2 = true
	v.Config.ErrorLog = log.New(io.Discard, "", 0)
	v.StartTLS()
	t.Cleanup(v.Close)
	ca := w.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.Certificate().Raw})))
	w.env = append(w.env, "SSL_CERT_FILE="+ca, "SSL_CERT_DIR=", "NO_PROXY=*")
	var list strings.Builder
	list.WriteString("---\nversion: \"alpha\"\nvendors:\n    - id: \"IBM\"\n      name: \"IBM\"\n      certificates:\n")
	for n, der := range v.certs {
		digest := strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(der)), " ", ":"), ":")
		fmt.Fprintf(&list, "        - name: \"CA %02d\"\n          url: \"%s/%d\"\n          validation:\n            fingerprint:\n                sha256: \"%s\"\n", n, v.URL, n, digest)
	}
	w.write("roots.yaml", list.String())
	return v
}

func (v *vendor) certificate(t *testing.T, serial int, validity time.Duration) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(serial + 1)), Subject: pkix.Name{CommonName: fmt.Sprintf("CA %02d", serial)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, v.key.Public(), v.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (v *vendor) serve(w http.ResponseWriter, r *http.Request) {
	v.requests.Add(1)
	var n int
	fmt.Sscanf(r.URL.Path, "/%d", &n)
	v.mu.Lock()
	answer := v.answer[n]
	v.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	w.Write(v.certs[n])
}

// does changes what the site does for the nth certificate.
func (v *vendor) does(n int, answer http.HandlerFunc) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answer[n] = answer
}

// sends is an answer with these bytes.
func sends(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write(body) }
}

// ends runs a command that must end with this status, and returns what it printed.
func (w *world) ends(status int, args ...string) (stdout, stderr string) {
	w.t.Helper()
	out, err := w.try("", args[0], args[1:]...)
	ended := &failure{}
	if err != nil && !errors.As(err, &ended) {
		w.t.Fatal(err)
	}
	if ended.status != status {
		w.t.Errorf("%q ended with %d, want %d:\n%s%s", args, ended.status, status, out, ended.stderr)
	}
	return out, ended.stderr
}

// TestBundleBuildFaults: a site that does everything wrong. All that went wrong is
// told, a line each, nothing is printed or written, and what was right is kept.
func TestBundleBuildFaults(t *testing.T) {
	w := newWorld(t)
	faults := []struct {
		answer http.HandlerFunc
		reason string
	}{
		{http.NotFound, "status 404 Not Found"},
		{sends([]byte("<html>Wartungsarbeiten</html>")), "an HTML or XML page came"},
		{sends(nil), "an empty body came"},
		{sends([]byte("\x1b[31mred")), "8 bytes came that are neither DER nor PEM"},
		{func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write(make([]byte, 32<<10))
			}
		}, "more than 65536 bytes came"},
		{func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "10000000000") }, "more than 65536 bytes came"},
		{func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "no answer: stream error"},
		{func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+"/0", http.StatusFound)
		}, "which is not https"},
		{func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://ca.example/0", http.StatusFound)
		}, `redirects to "https://ca.example/0", a host that the catalog does not list`},
		{func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, "asks to come back after 1h0m0s, longer than 30s"},
	}
	v := newVendor(t, w, len(faults)+4)
	last := len(faults)
	again := v.certificate(t, last, time.Hour)
	faults = append(faults, []struct {
		answer http.HandlerFunc
		reason string
	}{
		{sends(again), fmt.Sprintf(`it is "CN=CA %02d" with validity `, last)},
		{sends(v.certs[0]), `this is IBM "CA 00" of the list`},
		{sends(append(bytes.Clone(v.certs[last+2]), "more"...)), "4 bytes came after the certificate"},
	}...)
	for n, fault := range faults {
		v.does(n, fault.answer)
	}
	stdout, stderr := w.ends(1, "sealsmith", "bundle", "build", "--catalog", "roots.yaml", "--kind", "roots", "--date", "2026-04-11", "--output", "-")
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if stdout != "" || len(lines) != len(faults)+2 || !strings.Contains(lines[0], fmt.Sprintf("error: %d of %d certificates cannot be had:", len(faults), len(v.certs))) {
		t.Fatalf("stdout %q, stderr:\n%s", stdout, stderr)
	}
	for n, fault := range faults {
		line := lines[n+2]
		if !strings.Contains(line, fmt.Sprintf(`IBM "CA %02d" %s/%d: `, n, v.URL, n)) || !strings.Contains(line, fault.reason) {
			t.Errorf("line %q, want %q", line, fault.reason)
		}
	}
	w.ends(1, "sealsmith", "bundle", "build", "--catalog", "roots.yaml", "--kind", "roots", "--date", "2026-04-11", "--output", "roots.pem")
	if _, err := os.Stat(w.path("roots.pem")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("written: %v", err)
	}
	kept, err := filepath.Glob(w.path("data/sealsmith/certs/*"))
	if err != nil || len(kept) != 1 {
		t.Errorf("the store has %q, %v", kept, err)
	}

	// Who is not trusted is asked nothing.
	before := v.requests.Load()
	w.write("ca.pem", "")
	_, stderr = w.ends(1, "sealsmith", "bundle", "build", "--catalog", "roots.yaml", "--kind", "roots", "--date", "2026-04-11", "--output", "roots.pem")
	if !strings.Contains(stderr, "x509: certificate signed by unknown authority") || v.requests.Load() != before {
		t.Errorf("%d requests:\n%s", v.requests.Load()-before, stderr)
	}
}

// TestBundleFetch: a store is filled once; then the vendor may fail, or replace what
// it published.
func TestBundleFetch(t *testing.T) {
	w := newWorld(t)
	v := newVendor(t, w, 3)
	fetch := []string{"sealsmith", "bundle", "fetch", "--catalog", "roots.yaml", "--store", "certs"}
	watch := []string{"sealsmith", "bundle", "watch", "--catalog", "roots.yaml", "--store", "certs", "--within", "10d"}
	build := []string{"sealsmith", "bundle", "build", "--catalog", "roots.yaml", "--kind", "roots", "--store", "certs", "--date", "2026-04-11", "--output", "-"}
	host := strings.TrimPrefix(v.URL, "https://")
	has := func(text string, want ...string) {
		t.Helper()
		for _, part := range want {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), part) {
				t.Errorf("%q is not in:\n%s", part, text)
			}
		}
	}
	if err := os.Mkdir(w.path("certs"), 0o700); err != nil {
		t.Fatal(err)
	}
	v.does(2, http.NotFound)
	stdout, stderr := w.ends(1, fetch...)
	has(stdout, "HOST STORED SERVED CHANGED FAILED "+host+" 0 2 0 1 all 0 2 0 1")
	has(stderr, "error: 1 of 3 certificates cannot be had:", v.URL+"/2: status 404 Not Found")
	w.ends(1, build...)
	v.does(2, nil)
	stdout, _ = w.ends(0, fetch...)
	has(stdout, host+" 2 1 0 0")
	stdout, _ = w.ends(0, watch...)
	has(stdout, "3 certificates, 3 of them valid for more than 10 days; 3 URLs, 3 of them as pinned")
	first, _ := w.ends(0, build...)

	// One is re-issued in place, one is gone: both are told of, and nothing else changes.
	v.does(0, sends(v.certificate(t, 0, 99*24*time.Hour)))
	v.does(1, http.NotFound)
	stdout, _ = w.ends(0, append(fetch, "--refresh")...)
	has(stdout, host+" 0 1 1 1", `changed: IBM "CA 00" `+v.URL+"/0: another certificate", "same subject and key, re-issued with validity",
		"kept in certs/unpinned/", `failed: IBM "CA 01" `+v.URL+"/1: status 404 Not Found")
	var fetched struct {
		Complete     bool
		Certificates []struct {
			State string
			Found bool
			Other struct{ File string }
		}
	}
	stdout, _ = w.ends(0, append(fetch, "--refresh", "--json")...)
	if err := json.Unmarshal([]byte(stdout), &fetched); err != nil || !fetched.Complete || len(fetched.Certificates) != 3 {
		t.Fatalf("%v:\n%s", err, stdout)
	}
	if c := fetched.Certificates; c[0].State != "changed" || !c[0].Found || c[1].State != "failed" || c[2].State != "served" {
		t.Errorf("got %s", stdout)
	} else if _, err := os.Stat(w.path(c[0].Other.File)); err != nil {
		t.Error(err)
	}
	if again, _ := w.ends(0, build...); again != first {
		t.Error("another bundle")
	}

	stdout, stderr = w.ends(3, append(watch, "--within=60d", "--json")...)
	has(stderr, "serving other bytes than are pinned: 1 of 3 URLs; expired or soon to expire: 3 of 3 certificates; could not be checked: 1 of 3 URLs")
	var watched struct {
		WithinDays      int `json:"within_days"`
		Changed, Failed []struct{ URL, Reason string }
		Expiring        []struct{ Name string }
		URLs            int
	}
	if err := json.Unmarshal([]byte(stdout), &watched); err != nil || watched.WithinDays != 60 || watched.URLs != 3 ||
		len(watched.Changed) != 1 || len(watched.Failed) != 1 || len(watched.Expiring) != 3 {
		t.Errorf("%v:\n%s", err, stdout)
	}
	v.does(0, nil)
	stdout, _ = w.ends(6, append(watch, "--within=60d")...)
	has(stdout, `expires: IBM "CA 00" on `)
	stdout, _ = w.ends(1, watch...)
	has(stdout, `failed: IBM "CA 01"`)

	// Without the vendor, there are the pinned bytes.
	v.Close()
	before := v.requests.Load()
	if again, _ := w.ends(0, build...); again != first || v.requests.Load() != before {
		t.Error("another bundle, or a request")
	}
	w.ends(0, fetch...)
	stdout, _ = w.ends(1, watch...)
	has(stdout, "connection refused", "3 URLs, 0 of them as pinned")
}

// TestBundleFetchByProxy: HTTPS_PROXY is honoured, and one that is not there is told of.
func TestBundleFetchByProxy(t *testing.T) {
	w := newWorld(t)
	v := newVendor(t, w, 3)
	var tunnels atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, err := net.Dial("tcp", strings.TrimPrefix(v.URL, "https://"))
		if r.Method != http.MethodConnect || r.Host != "example.com:443" || err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer to.Close()
		tunnels.Add(1)
		from, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		fmt.Fprint(from, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(to, from)
		io.Copy(from, to)
	}))
	t.Cleanup(proxy.Close)
	list, err := os.ReadFile(w.path("roots.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// The test servers' certificate is for this name.
	w.write("roots.yaml", strings.ReplaceAll(string(list), v.URL, "https://example.com"))
	w.env = append(w.env, "NO_PROXY=", "HTTPS_PROXY="+proxy.URL)
	w.ends(0, "sealsmith", "bundle", "fetch", "--catalog", "roots.yaml")
	if tunnels.Load() != 1 {
		t.Errorf("%d connections by the proxy", tunnels.Load())
	}
	proxy.Close()
	_, stderr := w.ends(1, "sealsmith", "bundle", "fetch", "--catalog", "roots.yaml", "--store", "other")
	if n := strings.Count(stderr, "proxyconnect tcp: dial tcp "); n != 3 {
		t.Errorf("stderr:\n%s", stderr)
	}
}
