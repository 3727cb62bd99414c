package bundle

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// CRLs are certificate revocation lists (RFC 5280, section 5), ready to be looked at.
// Nobody has to trust where they came from: a list counts for the certificates of the
// CA whose key signed it. They are immutable and safe for concurrent use.
type CRLs struct {
	byIssuer map[string][]*crl // by the canonical name
}

type crl struct {
	list    *x509.RevocationList // without its entries
	revoked map[string]time.Time // by serial number, see [serialText]
	// defect says why any certificate that is not on the list may be revoked all the
	// same.
	defect string
	// unread: an extension gives the entries a meaning that we do not know.
	unread bool
	// part says which of the CA's certificates it is of, if it is not of all.
	part *distributionPoint
	// signer is, once known, the anchor whose key signed the list.
	signer atomic.Pointer[node]
}

// RevocationStatus is what revocation lists say of a certificate.
type RevocationStatus string

// The statuses.
const (
	// NotRevoked: it is not on a list of its CA that was due at the time.
	NotRevoked RevocationStatus = "not-revoked"
	// IsRevoked: it is on a list of its CA, however old.
	IsRevoked RevocationStatus = "revoked"
	// NotChecked: there is no list of its CA, or none that counts.
	NotChecked RevocationStatus = "not-checked"
)

// Revocation is what revocation lists say of a certificate of a chain.
type Revocation struct {
	Certificate *x509.Certificate
	Status      RevocationStatus
	Text        string // since when it is revoked, or why it was not checked; in one line
}

// ParseCRLs reads files of revocation lists: one in DER each, or any number in PEM.
// Who signed them is found out when they are used.
func ParseCRLs(files ...[]byte) (*CRLs, error) {
	l := &CRLs{byIssuer: map[string][]*crl{}}
	count, size := 0, 0
	add := func(der []byte) error {
		if count++; count > limits.BundleCRLs {
			return fmt.Errorf("more than %d revocation lists", limits.BundleCRLs)
		}
		if size += len(der); size > limits.BundleCRLSize {
			return fmt.Errorf("the revocation lists have more than %d bytes", limits.BundleCRLSize)
		}
		return l.add(der)
	}
	for i, data := range files {
		err := eachCRL(data, add)
		if err != nil {
			return nil, fmt.Errorf("file %d of %d of revocation lists: %w", i+1, len(files), err)
		}
	}
	return l, nil
}

func eachCRL(data []byte, add func(der []byte) error) error {
	switch {
	case len(data) > limits.BundleCRL:
		return fmt.Errorf("it has more than %d bytes", limits.BundleCRL)
	case len(data) > 0 && data[0] == sequence:
		return add(data)
	}
	return eachBlock(string(data), "X509 CRL", limits.BundleCRL, add)
}

func (l *CRLs) add(der []byte) error {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("not a revocation list: %s", quote(err.Error()))
	}
	if len(list.Raw) != len(der) {
		return fmt.Errorf("%d bytes after the revocation list", len(der)-len(list.Raw))
	}
	issuer, err := canonicalName(list.RawIssuer)
	if err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	// What crypto/x509 makes of the entries takes ten times the room of the list.
	one := &crl{revoked: map[string]time.Time{}, list: &x509.RevocationList{
		RawTBSRevocationList: list.RawTBSRevocationList, SignatureAlgorithm: list.SignatureAlgorithm, Signature: list.Signature,
		ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate, Extensions: list.Extensions,
	}}
	if _, weak := vetSignature(&x509.Certificate{SignatureAlgorithm: list.SignatureAlgorithm}, time.Time{}); weak != "" {
		one.defect = "is " + weak
	}
	one.readExtensions()
	for _, e := range list.RevokedCertificateEntries {
		one.revoked[serialText(e.SerialNumber)] = e.RevocationTime
		if slices.ContainsFunc(e.Extensions, isCritical) {
			one.unread, one.defect = true, "has an entry with a critical extension"
		}
	}
	l.byIssuer[issuer] = append(l.byIssuer[issuer], one)
	return nil
}

// serialText writes a number in the time that it takes to read it, unlike its String.
func serialText(n *big.Int) string { return n.Text(16) }

func isCritical(e pkix.Extension) bool { return e.Critical }

// look says what the lists of an issuer say of a certificate that it issued. A list
// is the issuer's if it has its name and its key signed it: CAs of one name have used
// one serial number for different certificates.
func (l *CRLs) look(child, issuer *node, at time.Time) Revocation {
	found := Revocation{child.cert, NotChecked, "no revocation list of its issuer was given"}
	if l == nil {
		return found
	}
	var counts, unsigned bool // lists of its issuer, and of others of that name
	for _, c := range l.byIssuer[issuer.subject] {
		if !c.signedBy(issuer) {
			unsigned = true
			continue
		}
		counts = true
		since, listed := c.revoked[serialText(child.cert.SerialNumber)]
		if listed && !c.unread {
			return Revocation{child.cert, IsRevoked, "revoked at " + since.UTC().Format(time.RFC3339)}
		}
		if found.Status == NotRevoked {
			continue
		}
		if gap := c.gap(child.cert, at); gap != "" {
			found.Text = "the revocation list of its issuer " + gap
			continue
		}
		found.Status, found.Text = NotRevoked, ""
	}
	if unsigned && !counts {
		found.Text = "a revocation list with the name of its issuer was not signed by its key, or by one that may not sign lists"
	}
	return found
}

// signedBy says whether the issuer's key signed the list, and may sign such.
func (c *crl) signedBy(issuer *node) bool {
	if c.signer.Load() == issuer {
		return true
	}
	// Key identifiers are not compared: one key may have several.
	if checkKey(issuer.cert) != nil || c.list.CheckSignatureFrom(issuer.cert) != nil {
		return false
	}
	if issuer.anchor {
		c.signer.Store(issuer)
	}
	return true
}
