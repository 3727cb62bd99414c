package bundle

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"slices"
)

// Pools are the certificates as crypto/x509 wants them. Each call makes new pools of
// copies, so that nobody changes those of another.
//
// crypto/x509 compares names byte for byte. It finds no chain where a CA was named in
// another encoding when it issued (4 of the 143 intermediates of the release of
// 2026-04-11), and refuses every real EK certificate for its critical subject
// alternative name. [Anchors] have neither problem.
func Pools(members []Member) (roots, intermediates *x509.CertPool) {
	roots, intermediates = x509.NewCertPool(), x509.NewCertPool()
	for _, m := range members {
		c := *m.X509
		if m.Kind == Roots {
			roots.AddCert(&c)
		} else {
			intermediates.AddCert(&c)
		}
	}
	return roots, intermediates
}

// OfVendors are the certificates of vendors, by their TCG ids, and those that issued
// them, whose vendors may be others; in the order given. The error is that of
// [NewGraph].
func OfVendors(members []Member, vendors ...string) ([]Member, error) {
	certs := make([]Certificate, len(members))
	for i, m := range members {
		certs[i] = m.Certificate
	}
	g, err := NewGraph(certs)
	if err != nil {
		return nil, err
	}
	wanted := make([]bool, len(members))
	var want func(i int)
	want = func(i int) {
		if wanted[i] {
			return
		}
		wanted[i] = true
		for _, l := range g.Issuers(i) {
			want(l.Issuer)
		}
	}
	for i, m := range members {
		if slices.Contains(vendors, m.Vendor) {
			want(i)
		}
	}
	var all []Member
	for i, m := range members {
		if wanted[i] {
			all = append(all, m)
		}
	}
	return all, nil
}

// Match chooses certificates; see [Find].
type Match func(c *x509.Certificate) bool

// BySHA256 matches the certificate whose DER has a digest.
func BySHA256(digest [sha256.Size]byte) Match {
	return func(c *x509.Certificate) bool { return sha256.Sum256(c.Raw) == digest }
}

// ByKeyID matches the certificates of CAs with a subject key identifier, such as the
// AuthorityKeyId of a certificate whose issuer is wanted. Several may have it; none
// has the empty one.
func ByKeyID(id []byte) Match {
	return func(c *x509.Certificate) bool { return len(id) > 0 && bytes.Equal(c.SubjectKeyId, id) }
}

// BySubject matches the certificates with a subject, in DER, such as the RawIssuer of
// a certificate whose issuer is wanted. Names are compared by RFC 5280, section 7.1.
func BySubject(der []byte) Match {
	return func(c *x509.Certificate) bool { return sameName(c.RawSubject, der) }
}

// Find returns the certificates that match, in the order given.
func Find(members []Member, match Match) []Member {
	var all []Member
	for _, m := range members {
		if match(m.X509) {
			all = append(all, m)
		}
	}
	return all
}

// Contains says whether exactly this certificate is there.
func Contains(members []Member, c *x509.Certificate) bool {
	return slices.ContainsFunc(members, func(m Member) bool { return m.X509.Equal(c) })
}
