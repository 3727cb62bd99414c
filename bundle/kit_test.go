package bundle

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

const (
	testDate   = "2026-04-11"
	testCommit = "0123456789abcdef0123456789abcdef01234567"
)

// throwawayKey is no secret: it makes test certificates that are the same in
// each run, because Ed25519 signatures have no randomness.
var throwawayKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

// template is a CA that no rule has anything against.
func template(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          big.NewInt(serial),
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Example, Inc."}, Country: []string{"DE"}},
		NotBefore:             time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

// selfSigned makes a certificate from a template, with our key.
func selfSigned(t testing.TB, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	return signedBy(t, c, throwawayKey)
}

func signedBy(t testing.TB, c *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(nil, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// testCA is a CA of a vendor called "Vendor CA n".
func testCA(t testing.TB, vendor string, n int64) Certificate {
	t.Helper()
	name := fmt.Sprintf("%s CA %d", vendor, n)
	return Certificate{Vendor: vendor, Name: name, X509: selfSigned(t, template(n, name))}
}

// entry pins a certificate by SHA-1 and SHA-256.
func entry(c Certificate, url string) Entry {
	return Entry{Vendor: c.Vendor, Name: c.Name, URL: url, Fingerprints: []Fingerprint{
		fingerprint(crypto.SHA1, c.X509.Raw), fingerprint(crypto.SHA256, c.X509.Raw),
	}}
}

// newStore is an empty store that holds certs.
func newStore(t testing.TB, certs ...Certificate) *Store {
	t.Helper()
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, c := range certs {
		if err := s.Add(c.X509.Raw); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// has says whether the store holds these bytes.
func has(s *Store, der []byte) bool {
	_, err := s.Certificate(sha256.Sum256(der))
	return err == nil
}

// wantError fails unless err holds every part, in lines that can be shown.
func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q has no %q", err, part)
		}
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if problem := checkPrintable(line); problem != nil {
			t.Errorf("error %q: %v", err, problem)
		}
	}
}
