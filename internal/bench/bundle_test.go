package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// hostShares is how many certificates each of the vendors' eight host names
// serves in the built-in catalog.
var hostShares = []int{88, 30, 17, 12, 12, 5, 3, 2}

// TestBundleBuild builds both bundles from eight loopback hosts that answer after
// 50 ms, and compares with the rounds of requests that the limits on parallel
// ones make unavoidable.
func TestBundleBuild(t *testing.T) {
	const name, latency = "bundle/build/50ms", 50 * time.Millisecond
	if !wanted(name) {
		return
	}
	sites := startSites(t, latency)
	var times []float64
	for range rounds {
		times = append(times, seconds(func() {
			options := bundle.Options{
				Date: "2026-04-11", Catalogs: sites.catalogs,
				Fetcher: &bundle.Fetcher{RootCAs: sites.roots},
			}
			if _, err := bundle.Release(t.Context(), options); err != nil {
				t.Fatal(err)
			}
		}))
	}
	ideal := (time.Duration(sites.rounds) * latency).Seconds()
	printFigure(name, median(times), "s", fmt.Sprintf("%d rounds of requests of 50 ms", sites.rounds), ideal/median(times))
}

// sites are the loopback hosts and the catalogs of what they serve.
type sites struct {
	roots    *x509.CertPool
	catalogs map[bundle.Kind]*bundle.Catalog
	rounds   int
}

func startSites(t *testing.T, latency time.Duration) *sites {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	served := map[string][]byte{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(latency)
		w.Write(served[r.URL.Path])
	})
	s := &sites{roots: x509.NewCertPool(), catalogs: map[bundle.Kind]*bundle.Catalog{}}
	lists := map[bundle.Kind]*strings.Builder{}
	for _, kind := range bundle.Kinds() {
		lists[kind] = &strings.Builder{}
		lists[kind].WriteString("---\nversion: \"alpha\"\nvendors:\n    - id: \"IFX\"\n      name: \"Infineon\"\n      certificates:\n")
	}
	serial := 0
	for host, share := range hostShares {
		site := startSite(t, s, host, handler)
		for range share {
			serial++
			kind := bundle.Intermediates
			if serial%6 == 0 { // 26 of 169 are roots
				kind = bundle.Roots
			}
			der := caCertificate(t, key, serial)
			path := fmt.Sprintf("/%d.crt", serial)
			served[path] = der
			fmt.Fprintf(lists[kind], "        - name: \"CA %03d\"\n          url: \"%s%s\"\n          validation:\n            fingerprint:\n                sha256: \"%s\"\n",
				serial, site, path, fingerprint(der))
		}
	}
	for kind, list := range lists {
		if s.catalogs[kind], err = bundle.ParseCatalog([]byte(list.String())); err != nil {
			t.Fatal(err)
		}
	}
	s.rounds = fewestRounds(hostShares)
	return s
}

// startSite serves on a loopback address of its own: limits are per host.
func startSite(t *testing.T, s *sites, host int, handler http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", host+1))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.EnableHTTP2 = true
	server.TLS = siteTLS(t, s.roots)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// fewestRounds is how many answers must follow one another when 16 requests to a
// host and 32 in all may be under way.
func fewestRounds(perHost []int) int {
	most, total := 0, 0
	for _, n := range perHost {
		total += n
		most = max(most, (n+limits.BundleWorkersPerHost-1)/limits.BundleWorkersPerHost)
	}
	return max(most, (total+limits.BundleWorkers-1)/limits.BundleWorkers)
}

func caCertificate(t *testing.T, key *ecdsa.PrivateKey, serial int) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(serial)),
		Subject:      pkix.Name{CommonName: fmt.Sprintf("CA %03d", serial)},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}
