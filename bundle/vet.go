package bundle

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"
)

// Severity says what a finding means for a build.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // no bundle is built
	Warning Severity = "warning" // the person should know
)

// Finding is something that a rule has against a certificate.
type Finding struct {
	Rule     string // stable id of the rule
	Severity Severity
	Vendor   string
	Name     string
	Text     string // what is wrong, in one line
}

// String is the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s %q: %s [%s]", f.Severity, f.Vendor, f.Name, f.Text, f.Rule)
}

// rules judge one certificate each; an empty text is no finding.
var rules = []struct {
	id    string
	judge func(c *x509.Certificate, at time.Time) (Severity, string)
}{
	{"not-a-ca", vetCA},
	{"weak-key", vetKey},
	{"weak-signature", vetSignature},
	{"validity", vetValidity},
	{"unprintable", vetNames},
}

// Vet judges the certificates of one bundle at a time: in their order, and the
// rules in a fixed order, so that the same input gives the same findings.
func Vet(certs []Certificate, at time.Time) []Finding {
	var all []Finding
	first := map[[sha256.Size]byte]Certificate{}
	for _, c := range certs {
		add := func(rule string, s Severity, text string) {
			if text != "" {
				all = append(all, Finding{rule, s, c.Vendor, c.Name, text})
			}
		}
		for _, rule := range rules {
			severity, text := rule.judge(c.X509, at)
			add(rule.id, severity, text)
		}
		digest := sha256.Sum256(c.X509.Raw)
		if other, seen := first[digest]; seen {
			add("duplicate", Error, fmt.Sprintf("is the same certificate as %s %q", other.Vendor, other.Name))
		} else {
			first[digest] = c
		}
	}
	return all
}

// vetCA wants basicConstraints with the CA bit (RFC 5280, 4.2.1.9).
func vetCA(c *x509.Certificate, _ time.Time) (Severity, string) {
	if !c.BasicConstraintsValid || !c.IsCA {
		return Error, "is not a CA certificate"
	}
	return "", ""
}

// vetKey wants at least 112 bits of security (NIST SP 800-57, part 1, table 2).
func vetKey(c *x509.Certificate, _ time.Time) (Severity, string) {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < 2048 {
			return Error, fmt.Sprintf("RSA key of %d bits", bits)
		}
	case *ecdsa.PublicKey:
		if bits := k.Curve.Params().BitSize; bits < 256 {
			return Error, fmt.Sprintf("elliptic-curve key of %d bits", bits)
		}
	case ed25519.PublicKey:
	default:
		return Error, "key of an unknown kind"
	}
	return "", ""
}

// vetSignature wants a hash without known collisions. The pinned digest, not
// the signature, says that a certificate is right; yet a CA that signs so may
// have signed a forgery, and verifiers refuse such a chain.
func vetSignature(c *x509.Certificate, _ time.Time) (Severity, string) {
	switch c.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA:
		return Error, fmt.Sprintf("signed with %v", c.SignatureAlgorithm)
	case x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return Warning, fmt.Sprintf("signed with %v", c.SignatureAlgorithm)
	case x509.UnknownSignatureAlgorithm:
		return Warning, "signed with an unknown algorithm"
	}
	return "", ""
}

// vetValidity only warns: evidence from before the end stays good.
func vetValidity(c *x509.Certificate, at time.Time) (Severity, string) {
	switch {
	case at.After(c.NotAfter):
		return Warning, "expired on " + c.NotAfter.UTC().Format(time.DateOnly)
	case at.Before(c.NotBefore):
		return Warning, "not valid before " + c.NotBefore.UTC().Format(time.DateOnly)
	}
	return "", ""
}

// vetNames keeps a certificate's names from ending the comment that shows them.
func vetNames(c *x509.Certificate, _ time.Time) (Severity, string) {
	for _, name := range []string{c.Subject.String(), c.Issuer.String()} {
		if err := checkPrintable(name); err != nil {
			return Error, "subject or issuer has " + err.Error()
		}
	}
	return "", ""
}
