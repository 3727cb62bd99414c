package bundle

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"
)

// Extensions of revocation lists (RFC 5280, 5.2.4 and 5.2.5).
var (
	oidDeltaCRL          = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// distributionPoint says which of its CA's certificates a list is of.
type distributionPoint struct {
	Name struct {
		Full []asn1.RawValue `asn1:"optional,tag:0"`
	} `asn1:"optional,tag:0"`
	OnlyUsers      bool           `asn1:"optional,tag:1"`
	OnlyCAs        bool           `asn1:"optional,tag:2"`
	Reasons        asn1.BitString `asn1:"optional,tag:3"`
	Indirect       bool           `asn1:"optional,tag:4"`
	OnlyAttributes bool           `asn1:"optional,tag:5"`
}

// readExtensions notes what a list says of itself. Those that say what it is of have
// to be critical, and are read even where they are not.
func (c *crl) readExtensions() {
	for _, e := range c.list.Extensions {
		switch {
		case e.Id.Equal(oidDistributionPoint) && c.part != nil:
			c.unread, c.defect = true, "says twice what it is of"
		case e.Id.Equal(oidDistributionPoint):
			if c.part = parseDistributionPoint(e.Value); c.part != nil {
				continue
			}
			fallthrough
		case e.Id.Equal(oidDeltaCRL), e.Critical:
			c.unread = true
			c.defect = fmt.Sprintf("has the extension %.80v: it is not a list of all that the CA revoked", e.Id)
		}
	}
}

// parseDistributionPoint returns nil for what is not its DER or not for us: a list of
// what other CAs revoked, or of other things than certificates.
func parseDistributionPoint(der []byte) *distributionPoint {
	var p distributionPoint
	if _, err := asn1.Unmarshal(der, &p); err != nil || p.Indirect || p.OnlyAttributes {
		return nil
	}
	if again, err := asn1.Marshal(p); err != nil || !bytes.Equal(again, der) {
		return nil // encoding/asn1 overlooks what it does not expect
	}
	return &p
}

// gap says why a certificate that is not on the list may be revoked all the same, if
// it may; in words that follow "the revocation list of its issuer".
func (c *crl) gap(child *x509.Certificate, at time.Time) string {
	if c.defect != "" {
		return c.defect
	}
	if p := c.part; p != nil {
		switch {
		case p.OnlyUsers && child.IsCA:
			return "is of no CAs"
		case p.OnlyCAs && !child.IsCA:
			return "is of CAs only"
		case p.Reasons.BitLength > 0:
			return "is of some reasons only"
		case len(p.Name.Full) > 0 && !slices.ContainsFunc(p.Name.Full, func(n asn1.RawValue) bool { return names(child, n) }):
			return "is of another part of what the CA certified: the certificate does not name it"
		}
	}
	switch this, next := c.list.ThisUpdate, c.list.NextUpdate; {
	case this.After(at): // those that had expired by then are no longer on it
		return fmt.Sprintf("was made at %s, later than the time in question", this.UTC().Format(time.RFC3339))
	case next.IsZero():
		return "does not say when the next is due"
	case next.Before(at):
		return "is stale: the next was due at " + next.UTC().Format(time.RFC3339)
	}
	return ""
}

// names says whether a certificate says that it is on lists of an address.
func names(c *x509.Certificate, point asn1.RawValue) bool {
	return point.Class == asn1.ClassContextSpecific && point.Tag == uniformResource && slices.Contains(c.CRLDistributionPoints, string(point.Bytes))
}
