package sshwire

import (
	"bytes"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// certificateTypes are the kinds of certificates that OpenSSH makes today: no
// DSA.
var certificateTypes = []string{
	ssh.CertAlgoRSAv01,
	ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01, ssh.CertAlgoSKECDSA256v01,
	ssh.CertAlgoED25519v01, ssh.CertAlgoSKED25519v01,
}

// certificateMark is in the type name of every certificate.
const certificateMark = "-cert-v01@openssh.com"

// ParseCertificate reads exactly the body of an OpenSSH certificate, that is, all
// but the signature of one ([PROTOCOL.certkeys]): what a certificate authority
// signs. Accepted data is what [MarshalCertificate] makes.
//
// [PROTOCOL.certkeys]: https://cvsweb.openbsd.org/src/usr.bin/ssh/PROTOCOL.certkeys
func ParseCertificate(body []byte) (*ssh.Certificate, error) {
	// The library reads whole certificates, so we lend it a signature.
	lent := ssh.Marshal(struct{ Signature []byte }{ssh.Marshal(ssh.Signature{Format: "none"})})
	k, err := ssh.ParsePublicKey(slices.Concat(body, lent))
	if err != nil {
		return nil, fmt.Errorf("%w certificate: %v", ErrMalformed, err)
	}
	c, ok := k.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("%w certificate: a key of type %.80q", ErrMalformed, k.Type())
	}
	c.Signature = nil
	if !slices.Contains(certificateTypes, c.Type()) {
		return nil, fmt.Errorf("%w certificate: type %.80q", ErrMalformed, c.Type())
	}
	if err := checkCertificate(c); err != nil {
		return nil, fmt.Errorf("%w certificate: %w", ErrMalformed, err)
	}
	// Whatever the library skips, and any second spelling, shows here.
	if !bytes.Equal(MarshalCertificate(c), body) {
		return nil, fmt.Errorf("%w certificate: not the plain encoding", ErrMalformed)
	}
	return c, nil
}

// MarshalCertificate is what the authority signs to make the certificate.
func MarshalCertificate(c *ssh.Certificate) []byte {
	unsigned := *c
	unsigned.Signature = nil
	b := unsigned.Marshal()
	return b[:len(b)-4] // the length of the signature
}

// checkCertificate checks the fields that not every value makes sense for.
func checkCertificate(c *ssh.Certificate) error {
	size := 0
	for _, list := range []map[string]string{c.CriticalOptions, c.Extensions} {
		for name, value := range list {
			size += len(name) + len(value)
		}
	}
	switch {
	case c.CertType != ssh.UserCert && c.CertType != ssh.HostCert:
		return fmt.Errorf("for neither a user nor a host: kind %d", c.CertType)
	case len(c.Nonce) < limits.MinCertNonce || len(c.Nonce) > limits.CertNonce:
		return fmt.Errorf("nonce of %d bytes", len(c.Nonce))
	case len(c.KeyId) > limits.CertKeyID:
		return fmt.Errorf("key id of %d bytes", len(c.KeyId))
	case len(c.ValidPrincipals) > limits.CertPrincipals:
		return fmt.Errorf("%d principals", len(c.ValidPrincipals))
	case len(c.CriticalOptions)+len(c.Extensions) > limits.CertOptions, size > limits.CertOptionText:
		return fmt.Errorf("%d options of %d bytes", len(c.CriticalOptions)+len(c.Extensions), size)
	case len(c.Reserved) > 0:
		return fmt.Errorf("reserved field of %d bytes", len(c.Reserved))
	}
	for _, p := range c.ValidPrincipals {
		if p == "" || len(p) > limits.CertPrincipal {
			return fmt.Errorf("principal of %d bytes", len(p))
		}
	}
	if k, ok := c.Key.(ssh.CryptoPublicKey); ok {
		if r, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok && r.N.BitLen() < limits.MinRSA {
			return fmt.Errorf("RSA key of %d bits, at least %d", r.N.BitLen(), limits.MinRSA)
		}
	}
	_, err := Validity(c)
	return err
}

// Validity says in words when a certificate is valid. It fails for times that
// calendars do not have, and for those that are never.
func Validity(c *ssh.Certificate) (string, error) {
	if c.ValidAfter >= c.ValidBefore {
		return "", fmt.Errorf("never valid: from %d to %d", c.ValidAfter, c.ValidBefore)
	}
	var words []string
	for _, limit := range []struct {
		word           string
		seconds, never uint64
	}{{"from", c.ValidAfter, 0}, {"until", c.ValidBefore, ssh.CertTimeInfinity}} {
		switch {
		case limit.seconds == limit.never:
		case limit.seconds > limits.CertTime:
			return "", fmt.Errorf("valid %s %d seconds after 1970, which is no date", limit.word, limit.seconds)
		default:
			words = append(words, limit.word+" "+time.Unix(int64(limit.seconds), 0).UTC().Format("2006-01-02 15:04:05"))
		}
	}
	switch {
	case len(words) == 0:
		return "for ever", nil
	case c.ValidBefore == ssh.CertTimeInfinity:
		words = append(words, "for ever")
	}
	return strings.Join(words, " ") + " (UTC)", nil
}
