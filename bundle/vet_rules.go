package bundle

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"time"
)

// rules judge one certificate each; an empty text is no finding.
var rules = []struct {
	Rule
	judge func(c *x509.Certificate, at time.Time) (Severity, string)
}{
	{Rule{"version", "X.509 version 3: older ones cannot say that they are of a CA"}, vetVersion},
	{Rule{"not-a-ca", "basicConstraints with the CA bit"}, vetCA},
	{Rule{"key-usage", "a key usage that allows signing certificates, if there is one"}, vetUsage},
	{Rule{"weak-key", "a key of at least 112 bits of security"}, vetKey},
	{Rule{"weak-signature", "a signature with neither MD5 (error) nor SHA-1 (warning)"}, vetSignature},
	{Rule{"critical-extension", "no critical extension that crypto/x509 does not know"}, vetExtensions},
	{Rule{"serial", "a positive serial number of at most 20 bytes"}, vetSerial},
	{Rule{"key-id", "a subject key identifier"}, vetKeyID},
	{Rule{"key-purpose", "extended key usages that allow EK certificates, if there are any"}, vetPurpose},
	{Rule{"validity", "valid at the time that is asked about"}, vetValidity},
	{Rule{"unprintable", "no unprintable character in the names"}, vetNames},
}

var duplicate = Rule{"duplicate", "each certificate once"}

// vetVersion wants version 3 (RFC 5280, 4.1.2.1).
func vetVersion(c *x509.Certificate, _ time.Time) (Severity, string) {
	if c.Version != 3 {
		return Error, fmt.Sprintf("is of X.509 version %d", c.Version)
	}
	return "", ""
}

// vetCA wants basicConstraints with the CA bit (RFC 5280, 4.2.1.9).
func vetCA(c *x509.Certificate, _ time.Time) (Severity, string) {
	if !c.BasicConstraintsValid || !c.IsCA {
		return Error, "is not a CA certificate"
	}
	return "", ""
}

// vetUsage wants keyCertSign (RFC 5280, 4.2.1.3).
func vetUsage(c *x509.Certificate, _ time.Time) (Severity, string) {
	if _, listed := extension(c, oidKeyUsage); listed && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return Error, "has a key that may not sign certificates"
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

// vetExtensions: verifiers must refuse what they do not know (RFC 5280, 4.2).
func vetExtensions(c *x509.Certificate, _ time.Time) (Severity, string) {
	if oids := c.UnhandledCriticalExtensions; len(oids) > 0 {
		return Error, fmt.Sprintf("has the critical extension %v, which verifiers do not know", oids[0])
	}
	return "", ""
}

// vetSerial wants what RFC 5280, 4.1.2.2 does.
func vetSerial(c *x509.Certificate, _ time.Time) (Severity, string) {
	switch n := c.SerialNumber; {
	case n.Sign() <= 0:
		return Warning, "has a serial number that is not positive"
	case n.BitLen() >= 20*8: // a full last byte takes one more, for the sign
		return Warning, "has a serial number of more than 20 bytes"
	}
	return "", ""
}

// vetKeyID wants what RFC 5280, 4.2.1.2 does of CAs.
func vetKeyID(c *x509.Certificate, _ time.Time) (Severity, string) {
	if len(c.SubjectKeyId) == 0 {
		return Warning, "has no subject key identifier"
	}
	return "", ""
}

// vetPurpose: verifiers, ours too, take the extended key usages of a CA for a limit
// of what it certifies.
func vetPurpose(c *x509.Certificate, _ time.Time) (Severity, string) {
	if !mayBeEK(c) {
		return Warning, "has extended key usages, and the one of EK certificates is not among them"
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
