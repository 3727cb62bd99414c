package bundle

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// TestVet: each certificate breaks one rule; the parsed form is changed where
// Go would not make such a certificate.
func TestVet(t *testing.T) {
	at := time.Date(2026, 4, 11, 0, 0, 0, 0, time.UTC)
	t.Setenv("GODEBUG", "rsa1024min=0") // to make a weak key
	changed := func(change func(*x509.Certificate)) *x509.Certificate {
		c := selfSigned(t, template(1, "CA"))
		change(c)
		return c
	}
	made := func(change func(*x509.Certificate)) *x509.Certificate {
		c := template(1, "CA")
		change(c)
		return selfSigned(t, c)
	}
	weakRSA, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weakEC, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		rule     string
		severity Severity
		cert     *x509.Certificate
		text     string
	}{
		{"not-a-ca", Error, changed(func(c *x509.Certificate) { c.IsCA = false }), "is not a CA certificate"},
		{"not-a-ca", Error, changed(func(c *x509.Certificate) { c.BasicConstraintsValid = false }), "is not a CA certificate"},
		{"version", Error, changed(func(c *x509.Certificate) { c.Version = 1 }), "is of X.509 version 1"},
		{"key-usage", Error, made(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), "has a key that may not sign certificates"},
		{"critical-extension", Error, made(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), "has the critical extension 1.2.3, which verifiers do not know"},
		{"serial", Warning, changed(func(c *x509.Certificate) { c.SerialNumber = new(big.Int) }), "has a serial number that is not positive"},
		{"serial", Warning, changed(func(c *x509.Certificate) { c.SerialNumber = big.NewInt(-1) }), "has a serial number that is not positive"},
		{"serial", Warning, changed(func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 159) }), "has a serial number of more than 20 bytes"},
		{"key-id", Warning, changed(func(c *x509.Certificate) { c.SubjectKeyId = nil }), "has no subject key identifier"},
		{"key-purpose", Warning, made(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }),
			"has extended key usages, and the one of EK certificates is not among them"},
		{"weak-key", Error, signedBy(t, template(1, "CA"), weakRSA), "RSA key of 1024 bits"},
		{"weak-key", Error, changed(func(c *x509.Certificate) {
			c.PublicKey = &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2046), E: 65537}
		}), "RSA key of 2047 bits"},
		{"weak-key", Error, signedBy(t, template(1, "CA"), weakEC), "elliptic-curve key of 224 bits"},
		{"weak-key", Error, changed(func(c *x509.Certificate) { c.PublicKey = nil }), "key of an unknown kind"},
		{"weak-signature", Error, changed(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.MD5WithRSA }), "signed with MD5-RSA"},
		{"weak-signature", Warning, changed(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), "signed with ECDSA-SHA1"},
		{"weak-signature", Warning, changed(func(c *x509.Certificate) { c.SignatureAlgorithm = 0 }), "signed with an unknown algorithm"},
		{"validity", Warning, changed(func(c *x509.Certificate) { c.NotAfter = at.Add(-time.Second) }), "expired on 2026-04-10"},
		{"validity", Warning, changed(func(c *x509.Certificate) { c.NotBefore = at.Add(time.Second) }), "not valid before 2026-04-11"},
		{"unprintable", Error, changed(func(c *x509.Certificate) {
			c.Issuer = pkix.Name{CommonName: "a\n-----BEGIN"}
		}), "subject or issuer has the unprintable character U+000A"},
	} {
		findings := Vet([]Certificate{{"IFX", "CA", c.cert}}, at)
		want := Finding{c.rule, c.severity, "IFX", "CA", c.text, "", fmt.Sprintf("%x", sha256.Sum256(c.cert.Raw)), 0}
		if len(findings) != 1 || findings[0] != want {
			t.Errorf("got %v, want %v", findings, want)
		}
	}
	for what, c := range map[string]*x509.Certificate{
		"serial number of 20 bytes": changed(func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 158) }),
		"for EKs":                   made(func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{oidEKCertificate} }),
		"RSA key of 2048 bits": changed(func(c *x509.Certificate) {
			c.PublicKey = &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}
		}),
		"no key usage": made(func(c *x509.Certificate) { c.KeyUsage = 0 }),
	} {
		if findings := Vet([]Certificate{{"IFX", "CA", c}}, at); len(findings) != 0 {
			t.Errorf("%s: %v", what, findings)
		}
	}
	good := testCA(t, "IFX", 1)
	if findings := Vet([]Certificate{good, testCA(t, "IFX", 2)}, at); len(findings) != 0 {
		t.Errorf("good certificates: %v", findings)
	}
	twice := Vet([]Certificate{good, {"STM", "again", good.X509}}, at)
	if len(twice) != 1 || twice[0].String() != `error: STM "again": is the same certificate as IFX "IFX CA 1" [duplicate]` {
		t.Errorf("got %v", twice)
	}
}

func TestBuildRefuses(t *testing.T) {
	good := testCA(t, "IFX", 1)
	leaf := template(2, "leaf")
	leaf.IsCA = false
	ok := header(Roots, Sealsmith)
	for _, c := range []struct {
		name  string
		certs []Certificate
		h     Header
		want  string
	}{
		{"nothing", nil, ok, "at least one certificate"},
		{"twice", []Certificate{good, good}, ok, "[duplicate]"},
		{"leaf", []Certificate{good, {"IFX", "leaf", selfSigned(t, leaf)}}, ok, `IFX "leaf": is not a CA certificate`},
		{"vendor", []Certificate{{"EVIL", "CA", good.X509}}, ok, `vendor id "EVIL"`},
		{"name", []Certificate{{"IFX", "CA\n-----BEGIN CERTIFICATE-----", good.X509}}, ok, `name "CA\n-----BEGIN`},
		{"no name", []Certificate{{"IFX", "", good.X509}}, ok, "empty"},
		{"no certificate", []Certificate{{"IFX", "CA", nil}}, ok, "without its certificate"},
		{"kind", []Certificate{good}, header("leaves", Sealsmith), `kind "leaves"`},
		{"format", []Certificate{good}, header(Roots, "text"), `format "text"`},
		{"date", []Certificate{good}, Header{Roots, Sealsmith, "today", ""}, `date "today"`},
		{"commit", []Certificate{good}, Header{Roots, Sealsmith, testDate, "ABC"}, `commit "ABC"`},
		{"tpmtb without commit", []Certificate{good}, Header{Roots, TPMTB, testDate, ""}, "wants 40"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Build(c.certs, c.h)
			wantError(t, err, c.want)
		})
	}
}

func TestBuildWarns(t *testing.T) {
	old := template(1, "old")
	old.NotAfter = time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	_, findings, err := Build([]Certificate{{"IFX", "old", selfSigned(t, old)}}, header(Roots, Sealsmith))
	if err != nil || len(findings) != 1 || findings[0].Rule != "validity" {
		t.Errorf("got %v, %v", findings, err)
	}
}
