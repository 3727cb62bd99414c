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

// Summary is what a certificate says, in texts that are safe to print.
type Summary struct {
	SHA256    string    `json:"sha256"`  // of the DER, lower-case hexadecimal
	Subject   string    `json:"subject"` // RFC 4514
	Issuer    string    `json:"issuer"`  // RFC 4514
	Serial    string    `json:"serial"`  // lower-case hexadecimal
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Key       string    `json:"key"` // see [KeyName]
}

// Summarise reads a certificate. The error is for a name that cannot be read; no
// certificate of a [Bundle] has one.
func Summarise(c *x509.Certificate) (Summary, error) {
	subject, err := dnString(c.RawSubject)
	if err != nil {
		return Summary{}, fmt.Errorf("subject: %w", err)
	}
	issuer, err := dnString(c.RawIssuer)
	if err != nil {
		return Summary{}, fmt.Errorf("issuer: %w", err)
	}
	return Summary{
		SHA256:  fmt.Sprintf("%x", sha256.Sum256(c.Raw)),
		Subject: subject, Issuer: issuer, Serial: fmt.Sprintf("%x", c.SerialNumber),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(), Key: KeyName(c),
	}, nil
}

// KeyName names the kind of the certificate's key, such as RSA-2048 or P-384.
func KeyName(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return k.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return "unknown"
}
