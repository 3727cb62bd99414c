package bench

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// latency is how long a site takes to answer.
const latency = 50 * time.Millisecond

// TestBundleBuild builds both bundles from eight loopback hosts that answer after
// 50 ms, and compares with the rounds of requests that the limits on parallel
// ones make unavoidable.
func TestBundleBuild(t *testing.T) {
	const name = "bundle/build/50ms"
	if !wanted(name) {
		return
	}
	sites := startSites(t)
	var times []float64
	for range rounds {
		times = append(times, seconds(func() {
			options := bundle.Options{
				Date: "2026-04-11", Catalogs: sites.catalogs(t),
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

// The targets of the whole process, as issue and peer have them.
const (
	processSeconds = 0.6
	processMemory  = 30_000 // kB
)

// TestBundleBuildProcess is the same as a person sees it: the program from its start
// to its end, which also fills an empty store.
func TestBundleBuildProcess(t *testing.T) {
	const name, memory = "bundle/process/50ms", "bundle/process/rss"
	if !wanted(name) && !wanted(memory) {
		return
	}
	sites := startSites(t)
	dir := t.TempDir()
	program := buildProgram(t, dir)
	args := []string{"bundle", "build", "--date", "2026-04-11"}
	for _, kind := range bundle.Kinds() {
		path := filepath.Join(dir, string(kind)+".yaml")
		if err := os.WriteFile(path, []byte(sites.lists[kind]), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--catalog", path)
	}
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sites.ca}), 0o600); err != nil {
		t.Fatal(err)
	}
	var times, peaks []float64
	for n := range rounds {
		round := filepath.Join(dir, fmt.Sprint(n))
		cmd := exec.Command(program, append(args, "--output", round)...)
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+ca, "XDG_DATA_HOME="+round+".data", "NO_PROXY=*")
		times = append(times, seconds(func() { peaks = append(peaks, peakMemory(t, cmd)) }))
	}
	if wanted(name) {
		printFigure(name, median(times), "s", fmt.Sprintf("%v s", processSeconds), processSeconds/median(times))
	}
	if wanted(memory) {
		printFigure(memory, median(peaks), "kB", fmt.Sprintf("%v kB", processMemory), processMemory/median(peaks))
	}
}

// buildProgram builds ours as `make build` does.
func buildProgram(t *testing.T, dir string) string {
	t.Helper()
	program := filepath.Join(dir, "sealsmith")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-tags", "grpcnotrace", "-o", program, "./cmd/sealsmith")
	build.Dir, build.Env = testenv.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// peakMemory runs a program and returns the most memory that it held, in kB. The
// kernel's figure after its end would be that of this process, which it was at
// first; so it is read again and again.
func peakMemory(t *testing.T, cmd *exec.Cmd) (peak float64) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v\n%s", err, &said)
			}
			return peak
		case <-time.After(2 * time.Millisecond):
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)) // empty at the end
		for line := range strings.Lines(string(status)) {
			var kB float64
			if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kB); err == nil {
				peak = max(peak, kB)
			}
		}
	}
}

// sites are loopback hosts in the places of those of the built-in catalog, and the
// catalogs of what they serve.
type sites struct {
	ca     []byte // of all of them
	roots  *x509.CertPool
	lists  map[bundle.Kind]string
	rounds int
}

func startSites(t *testing.T) *sites {
	t.Helper()
	var root *authority
	served := map[string][]byte{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(latency)
		w.Write(served[r.URL.Path])
	})
	s := &sites{roots: x509.NewCertPool(), lists: map[bundle.Kind]string{}}
	config := s.newTLS(t)
	urls, shares := map[string]string{}, map[string]int{}
	for _, kind := range bundle.Kinds() {
		own, err := bundle.OwnCatalog(kind)
		if err != nil {
			t.Fatal(err)
		}
		issuer := root // the last of the roots, if they are done
		list := "---\nversion: \"alpha\"\nvendors:\n    - id: \"IFX\"\n      name: \"Infineon\"\n      certificates:\n"
		for _, e := range own.Entries {
			u, err := url.Parse(e.URL)
			if err != nil {
				t.Fatal(err)
			}
			if urls[u.Host] == "" {
				urls[u.Host] = startSite(t, len(urls), config, handler)
			}
			shares[u.Host]++
			serial := len(served) + 1
			path := fmt.Sprintf("/%d.crt", serial)
			made := newAuthority(t, serial, issuer)
			served[path] = made.cert.Raw
			if kind == bundle.Roots {
				root = made
			}
			list += fmt.Sprintf("        - name: \"CA %03d\"\n          url: \"%s%s\"\n          validation:\n            fingerprint:\n                sha256: \"%s\"\n",
				serial, urls[u.Host], path, fingerprint(served[path]))
		}
		s.lists[kind] = list
	}
	s.rounds = fewestRounds(slices.Collect(maps.Values(shares)))
	return s
}

func (s *sites) catalogs(t *testing.T) map[bundle.Kind]*bundle.Catalog {
	t.Helper()
	all := map[bundle.Kind]*bundle.Catalog{}
	for kind, list := range s.lists {
		var err error
		if all[kind], err = bundle.ParseCatalog([]byte(list)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// startSite serves on a loopback address of its own: limits are per host.
func startSite(t *testing.T, host int, config *tls.Config, handler http.Handler) string {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", host+1))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.EnableHTTP2 = true
	server.TLS = config.Clone()
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

// authority is a CA certificate and its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes one that the issuer signs, or that signs itself.
func newAuthority(t *testing.T, serial int, issuer *authority) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := &authority{key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(int64(serial)),
		Subject:      pkix.Name{CommonName: fmt.Sprintf("CA %03d", serial)},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}}
	if issuer == nil {
		issuer = made
	}
	der, err := x509.CreateCertificate(rand.Reader, made.cert, issuer.cert, key.Public(), issuer.key)
	if err != nil {
		t.Fatal(err)
	}
	if made.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return made
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}
