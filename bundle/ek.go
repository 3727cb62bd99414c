package bundle

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// EKReason is the stable code of why an EK certificate was refused.
type EKReason string

// Accepted stands where there is no reason.
const Accepted EKReason = "ok"

// The reasons.
const (
	IssuerMissing            EKReason = "issuer-missing"             // no chain to a root: a CA is not among the anchors
	NameMismatch             EKReason = "name-mismatch"              // an anchor's key signed it, under another name
	BadSignature             EKReason = "bad-signature"              // a signature is not that of the issuer
	WeakSignature            EKReason = "weak-signature"             // signed with SHA-1 or MD5
	WeakKey                  EKReason = "weak-key"                   // a key below 112 bits of security
	UnparsableKey            EKReason = "unparsable-key"             // a key of an unknown kind or absurd size
	Expired                  EKReason = "expired"                    // a certificate of the chain, at the time in question
	NotYetValid              EKReason = "not-yet-valid"              // likewise
	NotACA                   EKReason = "not-a-ca"                   // an issuer that may not issue certificates
	ConstraintBroken         EKReason = "constraint-broken"          // a CA's limit of length, names or policies
	UnknownCriticalExtension EKReason = "unknown-critical-extension" // in any certificate of the chain
	NotAnEK                  EKReason = "not-an-ek"                  // a certificate, or a CA, for something else
	Malformed                EKReason = "malformed"                  // breaks a format
	TooComplex               EKReason = "too-complex"                // no chain was found with a bounded effort
	Revoked                  EKReason = "revoked"                    // on a revocation list of its issuer; see [Anchors.ReportEK]
)

// EKError says why an EK certificate was refused.
type EKError struct {
	Reason EKReason
	Text   string // what is wrong, in one line
}

// Error implements error.
func (e *EKError) Error() string {
	return fmt.Sprintf("EK certificate refused: %s [%s]", e.Text, e.Reason)
}

func refuse(r EKReason, format string, args ...any) *EKError {
	return &EKError{r, fmt.Sprintf(format, args...)}
}

// EKChain is a verified EK certificate. What it says of the TPM is the word of
// the CA, and is empty if the CA says nothing.
type EKChain struct {
	Certificates []*x509.Certificate // the EK's first, a root of the anchors last

	Manufacturer string // as in the certificate, such as "id:49465800"
	Vendor       string // the TCG vendor id that this stands for, such as "IFX", if it is one
	Model        string
	Version      string // of the firmware
}

// VerifyEK finds the chain from an EK certificate to a root. The intermediates
// came with the certificate and are not trusted: they help only where they chain
// to a root. Names are compared by RFC 5280, section 7.1, and each certificate of
// the chain must be valid at the time at: when the evidence was made, if somebody
// trusted says so, and else now. Many EK certificates never expire; one that did
// is refused like any other, because nobody answers for it any more.
//
// That a certificate is for an EK must be in it: the extended key usage of the TCG
// or, if it limits its usages not at all, the attributes of a TPM.
//
// Its error is an [*EKError]. Revocation is not looked at: see [Anchors.ReportEK].
func (a *Anchors) VerifyEK(leaf *x509.Certificate, intermediates []*x509.Certificate, at time.Time) (*EKChain, error) {
	found, _, refused := a.verifyEK(leaf, intermediates, at)
	if refused != nil {
		return nil, refused
	}
	return found, nil
}

// verifyEK also returns the chain as it was found, and what the certificate says of
// its TPM even if there is none.
func (a *Anchors) verifyEK(leaf *x509.Certificate, intermediates []*x509.Certificate, at time.Time) (*EKChain, []*node, *EKError) {
	if leaf == nil {
		return nil, nil, refuse(Malformed, "there is none")
	}
	found, refused := checkLeaf(leaf)
	if refused != nil {
		return nil, nil, refused
	}
	start, err := newNode(leaf)
	if err != nil {
		return found, nil, refuse(Malformed, "%v", err)
	}
	s := &search{anchors: a, extra: a.index(intermediates), at: at, proofs: map[link]bool{}}
	path := s.extend([]*node{start})
	if path == nil {
		return found, nil, s.refused
	}
	for _, n := range path {
		found.Certificates = append(found.Certificates, n.cert)
	}
	return found, path, nil
}

// index prepares the certificates that came with the evidence.
func (a *Anchors) index(intermediates []*x509.Certificate) map[string][]*node {
	extra := map[string][]*node{}
	for _, c := range intermediates {
		if c == nil || a.seen[string(c.Raw)] {
			continue
		}
		// One that is malformed is nobody's issuer.
		if n, err := newNode(c); err == nil {
			extra[n.subject] = append(extra[n.subject], n)
		}
	}
	return extra
}

// checkKey refuses a key that is too weak, or that is no use to check with.
func checkKey(c *x509.Certificate) *EKError {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		switch bits := k.N.BitLen(); {
		case bits > limits.BundleRSABits:
			return refuse(UnparsableKey, "%s has an RSA key of %d bits", nameOf(c), bits)
		case k.N.Bit(0) == 0:
			return refuse(WeakKey, "%s has an RSA key with an even modulus", nameOf(c))
		case k.E < 3 || k.E%2 == 0: // what 1 encrypts, everybody can read
			return refuse(WeakKey, "%s has an RSA key with the exponent %d", nameOf(c), k.E)
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default: // crypto/x509 leaves it nil for RSA keys limited to OAEP, as in TPMs 1.2
		return refuse(UnparsableKey, "%s has a key of an unknown kind", nameOf(c))
	}
	if _, text := vetKey(c, time.Time{}); text != "" {
		return refuse(WeakKey, "%s has an %s", nameOf(c), text)
	}
	return nil
}

// checkValid compares with a certificate's time of validity.
func checkValid(c *x509.Certificate, at time.Time) *EKError {
	switch {
	case at.Before(c.NotBefore):
		return refuse(NotYetValid, "%s is valid from %s on; looked at for %s", nameOf(c),
			c.NotBefore.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	case at.After(c.NotAfter):
		return refuse(Expired, "%s expired at %s; looked at for %s", nameOf(c),
			c.NotAfter.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
	}
	return nil
}

// nameOf names a certificate in an error.
func nameOf(c *x509.Certificate) string {
	name, err := dnString(c.RawSubject)
	if err != nil || name == "" { // an EK certificate may name the TPM in its other name only
		return fmt.Sprintf("the certificate with serial number %.40s", c.SerialNumber.Text(16))
	}
	return "the certificate of " + quote(name)
}
