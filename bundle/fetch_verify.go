package bundle

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"time"
)

// changedError is a DER structure that came in place of the pinned certificate.
type changedError struct {
	reason error
	cert   *x509.Certificate // nil if it is none
}

// Error implements error.
func (e *changedError) Error() string { return e.reason.Error() }

// Unwrap returns the reason.
func (e *changedError) Unwrap() error { return e.reason }

// verify returns the certificate in a body if it is the pinned one. What is known of
// that helps to say what came in its place.
func (j *job) verify(e Entry, body []byte, known *x509.Certificate) ([]byte, error) {
	der, err := bodyDER(body)
	if err != nil {
		return nil, err
	}
	mismatch := e.check(der)
	if mismatch == nil {
		return der, nil
	}
	cert, err := x509.ParseCertificate(der)
	switch other := j.listed(der); {
	case other != nil:
		err = fmt.Errorf("%w; this is %s %q of the list", mismatch, other.Vendor, other.Name)
	case err != nil:
		err = fmt.Errorf("%w; no certificate can be read from it", mismatch)
	case known != nil && sameSubject(known, cert) && bytes.Equal(known.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo):
		err = fmt.Errorf("%w; same subject and key, re-issued with validity %s", mismatch, validity(cert))
	default:
		err = fmt.Errorf("%w; it is %s with validity %s", mismatch, quote(cert.Subject.String()), validity(cert))
	}
	return nil, &changedError{err, cert}
}

// listed is the entry that pins a certificate; nil if there is none.
func (j *job) listed(der []byte) *Entry {
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		if e, ok := j.byPin[fingerprint(h, der).String()]; ok && e.check(der) == nil {
			return &e
		}
	}
	return nil
}

func sameSubject(a, b *x509.Certificate) bool {
	x, err := canonicalName(a.RawSubject)
	if err != nil {
		return false
	}
	y, err := canonicalName(b.RawSubject)
	return err == nil && x == y
}

// validity is the first and the last day.
func validity(c *x509.Certificate) string {
	return c.NotBefore.UTC().Format(time.DateOnly) + " to " + c.NotAfter.UTC().Format(time.DateOnly)
}
