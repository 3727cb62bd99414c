package bundle

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"time"
)

// Object identifiers of what crypto/x509 does not fully check (RFC 5280, 4.2.1).
var (
	oidKeyUsage          = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidNameConstraints   = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidPolicyConstraints = asn1.ObjectIdentifier{2, 5, 29, 36}
	oidPolicyMappings    = asn1.ObjectIdentifier{2, 5, 29, 33}
	oidExtKeyUsage       = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidAnyPolicy         = asn1.ObjectIdentifier{2, 5, 29, 32, 0}
)

// decide says whether a path is a chain. It takes nothing from the search but what
// prove found by the signatures, and looks at all else itself: so a mistake in the
// search refuses and never accepts. No signature is checked twice, as it would be if
// crypto/x509 judged the whole path; that has a word only where a CA limits what is
// below it in a way that we do not evaluate ourselves.
func (s *search) decide(path []*node) *EKError {
	for i, n := range path {
		if refused := checkValid(n.cert, s.at); refused != nil {
			return refused
		}
		if i == 0 {
			continue // checkLeaf and newNode did the rest
		}
		if child := path[i-1]; child.issuer != n.subject || !s.proved(child, n) {
			return refuse(BadSignature, "nothing shows that %s was issued by %s", nameOf(child.cert), nameOf(n.cert))
		}
		if refused := checkIssuer(n, i-1); refused != nil {
			return refused
		}
	}
	if !path[len(path)-1].root {
		return missing(path[len(path)-1])
	}
	if slices.ContainsFunc(path, constrained) {
		return verifyByLibrary(path, s.at)
	}
	return nil
}

// checkIssuer looks at a CA of a chain that has so many other CAs below it.
func checkIssuer(n *node, below int) *EKError {
	c := n.cert
	if refused := checkKey(c); refused != nil {
		return refused
	}
	if oids := c.UnhandledCriticalExtensions; len(oids) > 0 {
		return refuse(UnknownCriticalExtension, "%s has the critical extension %.80v", nameOf(c), oids[0])
	}
	if limitsNames(c) {
		return refuse(ConstraintBroken, "%s limits the names of what it certifies, which is not checked", nameOf(c))
	}
	if slices.ContainsFunc(c.PolicyMappings, mapsAny) {
		return refuse(ConstraintBroken, "%s maps a policy that stands for any", nameOf(c))
	}
	if !n.root && !mayBeEK(c) {
		return refuse(NotAnEK, "%s is of a CA that issues no EK certificates", nameOf(c))
	}
	for _, vet := range []func(*x509.Certificate, time.Time) (Severity, string){vetCA, vetUsage} {
		if _, text := vet(c, time.Time{}); text != "" {
			return refuse(NotACA, "%s %s", nameOf(c), text)
		}
	}
	if c.MaxPathLen >= 0 && below > c.MaxPathLen { // -1: no limit (RFC 5280, 4.2.1.9)
		return refuse(ConstraintBroken, "%s allows %d CAs below it, too few for this chain", nameOf(c), c.MaxPathLen)
	}
	return nil
}

// mapsAny: RFC 5280, 6.1.4 (a) forbids that, also where no policy is demanded.
func mapsAny(m x509.PolicyMapping) bool {
	return m.IssuerDomainPolicy.EqualASN1OID(oidAnyPolicy) || m.SubjectDomainPolicy.EqualASN1OID(oidAnyPolicy)
}

// constrained says whether a certificate limits names or demands policies (RFC 5280,
// 4.2.1.10 and 11); an EK's own may demand one of itself. No TPM vendor's does.
func constrained(n *node) bool {
	_, names := extension(n.cert, oidNameConstraints)
	_, policies := extension(n.cert, oidPolicyConstraints)
	return names || policies
}

// verifyByLibrary has crypto/x509 verify a path: copies with the canonical names, and of this
// path alone.
func verifyByLibrary(path []*node, at time.Time) *EKError {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, n := range path[1:] {
		if n.root {
			roots.AddCert(n.forVerify())
		} else {
			intermediates.AddCert(n.forVerify())
		}
	}
	leaf := path[0].forVerify()
	leaf.UnhandledCriticalExtensions = nil // checkLeaf handled it
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // the EK's has no number there; checked above
	})
	if err != nil {
		return refuse(ConstraintBroken, "%s", quote(err.Error()))
	}
	return nil
}

// forVerify is a copy whose names crypto/x509, which compares bytes, finds equal
// when they are.
func (n *node) forVerify() *x509.Certificate {
	c := *n.cert
	c.RawSubject, c.RawIssuer = []byte(n.subject), []byte(n.issuer)
	return &c
}

// extension is the value of an extension; a certificate has each at most once.
func extension(c *x509.Certificate, oid asn1.ObjectIdentifier) (der []byte, found bool) {
	for _, e := range c.Extensions {
		if e.Id.Equal(oid) {
			return e.Value, true
		}
	}
	return nil, false
}

// limitsNames says whether a CA limits the directory names or mail addresses that it
// certifies (RFC 5280, 4.2.1.10). Both may be in a subject, where crypto/x509 does not
// look for them; an EK has no other names.
func limitsNames(c *x509.Certificate) bool {
	der, found := extension(c, oidNameConstraints)
	if !found {
		return false
	}
	type subtree struct{ Base asn1.RawValue }
	var names struct {
		Permitted []subtree `asn1:"optional,tag:0"`
		Excluded  []subtree `asn1:"optional,tag:1"`
	}
	rest, err := asn1.Unmarshal(der, &names)
	return err != nil || len(rest) > 0 || slices.ContainsFunc(slices.Concat(names.Permitted, names.Excluded),
		func(s subtree) bool { return s.Base.Tag == directoryName || s.Base.Tag == mailAddress })
}
