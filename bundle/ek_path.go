package bundle

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Object identifiers of what crypto/x509 does not fully check (RFC 5280, 4.2.1).
var (
	oidKeyUsage        = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}
)

// search looks for a chain from an EK certificate to a root. It goes by canonical
// names, which crypto/x509 does not, and explains why there is none; what it found
// is then judged by crypto/x509.
type search struct {
	anchors *Anchors
	extra   map[string][]*node
	at      time.Time
	checks  int // signatures checked

	refused *EKError // why the path that came furthest came no further
	depth   int      // of that path
}

// extend returns a chain that begins with path, or nil and leaves in s why not.
func (s *search) extend(path []*node) []*x509.Certificate {
	child := path[len(path)-1]
	if len(path) == limits.BundleChain {
		s.fail(len(path), refuse(TooComplex, "the chain has more than %d certificates", limits.BundleChain))
		return nil
	}
	for _, issuer := range s.issuers(child) {
		if slices.ContainsFunc(path, issuer.sameCA) {
			continue
		}
		if refused := s.link(child, issuer); refused != nil {
			s.fail(len(path), refused)
			continue
		}
		longer := append(slices.Clip(path), issuer)
		if !issuer.root {
			if chain := s.extend(longer); chain != nil {
				return chain
			}
			continue
		}
		chain, refused := decide(longer, s.at)
		if refused == nil {
			return chain
		}
		s.fail(len(longer), refused)
	}
	if s.depth < len(path) {
		s.fail(len(path), s.orphan(child))
	}
	return nil
}

// fail notes why a path ended. Who is refused wants to know about the path that
// came furthest, and of several the one that was tried first.
func (s *search) fail(depth int, why *EKError) {
	if depth > s.depth {
		s.refused, s.depth = why, depth
	}
}

// issuers are the certificates that have the name of child's issuer: the anchors
// first, and before all others those that have the key that child asks for.
func (s *search) issuers(child *node) []*node {
	all := slices.Concat(s.anchors.bySubj[child.issuer], s.extra[child.issuer])
	slices.SortStableFunc(all, func(a, b *node) int { return child.foreignTo(a) - child.foreignTo(b) })
	return all
}

// foreignTo is 0 if the key identifiers say that issuer's key signed n, 2 if they
// say the opposite, and 1 if they say nothing.
func (n *node) foreignTo(issuer *node) int {
	authority, subject := n.cert.AuthorityKeyId, issuer.cert.SubjectKeyId
	switch {
	case len(authority) == 0 || len(subject) == 0:
		return 1
	case bytes.Equal(authority, subject):
		return 0
	}
	return 2
}

// sameCA says whether both are certificates of the same CA. A chain that returns
// to one goes in circles.
func (n *node) sameCA(other *node) bool {
	return n.subject == other.subject &&
		bytes.Equal(n.cert.RawSubjectPublicKeyInfo, other.cert.RawSubjectPublicKeyInfo)
}

// link checks whether issuer may issue certificates and issued child. The key is
// looked at first: with a hostile one, the check would take minutes.
func (s *search) link(child, issuer *node) *EKError {
	if refused := checkKey(issuer.cert); refused != nil {
		return refused
	}
	if _, text := vetCA(issuer.cert, s.at); text != "" {
		return refuse(NotACA, "%s %s", nameOf(issuer.cert), text)
	}
	// A list of uses that names none, which crypto/x509 takes for no list.
	if _, listed := extension(issuer.cert, oidKeyUsage); listed && issuer.cert.KeyUsage == 0 {
		return mayNotSign(issuer)
	}
	if s.checks++; s.checks > limits.BundleChecks {
		s.depth = limits.BundleChain // nothing comes further any more
		s.refused = refuse(TooComplex, "no chain was found by checking %d signatures", limits.BundleChecks)
		return s.refused
	}
	err := child.cert.CheckSignatureFrom(issuer.cert)
	if err == nil {
		return nil
	}
	_, weak := errors.AsType[x509.InsecureAlgorithmError](err)
	_, forbidden := errors.AsType[x509.ConstraintViolationError](err)
	switch {
	case weak:
		return refuse(WeakSignature, "%s is signed with %v", nameOf(child.cert), child.cert.SignatureAlgorithm)
	case forbidden:
		return mayNotSign(issuer)
	case child.foreignTo(issuer) == 2:
		return missing(child)
	}
	return refuse(BadSignature, "%s was not signed by the key of its issuer", nameOf(child.cert))
}

func mayNotSign(issuer *node) *EKError {
	return refuse(NotACA, "%s has a key that may not sign certificates", nameOf(issuer.cert))
}

// orphan says why nobody has the name of child's issuer.
func (s *search) orphan(child *node) *EKError {
	if id := string(child.cert.AuthorityKeyId); id != "" {
		for _, n := range s.anchors.byKeyID[id] {
			if s.link(child, n) == nil {
				return refuse(NameMismatch, "%s was signed by the key of %s, but names another issuer",
					nameOf(child.cert), nameOf(n.cert))
			}
		}
	}
	return missing(child)
}

func missing(child *node) *EKError {
	issuer, err := dnString(child.cert.RawIssuer)
	if err != nil {
		issuer = "?"
	}
	return refuse(IssuerMissing, "%s was issued by %s, which is not among the CA certificates",
		nameOf(child.cert), quote(issuer))
}

// decide says whether a path whose names and signatures fit is a chain, and returns it.
// The last word has crypto/x509: it gets copies with the canonical names, of this
// path alone, so that a mistake in the search refuses and never accepts.
func decide(path []*node, at time.Time) ([]*x509.Certificate, *EKError) {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for i, n := range path {
		if refused := checkValid(n.cert, at); refused != nil {
			return nil, refused
		}
		if i == 0 {
			continue // checkLeaf did the rest
		}
		if oids := n.cert.UnhandledCriticalExtensions; len(oids) > 0 {
			return nil, refuse(UnknownCriticalExtension, "%s has the critical extension %v", nameOf(n.cert), oids[0])
		}
		if limitsNames(n.cert) {
			return nil, refuse(ConstraintBroken, "%s limits the names of what it certifies, which is not checked", nameOf(n.cert))
		}
		if n.root {
			roots.AddCert(n.forVerify())
			continue
		}
		if !mayBeEK(n.cert) {
			return nil, refuse(NotAnEK, "%s is of a CA that issues no EK certificates", nameOf(n.cert))
		}
		intermediates.AddCert(n.forVerify())
	}
	leaf := path[0].forVerify()
	leaf.UnhandledCriticalExtensions = nil // checkLeaf handled it
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // the EK's has no number there; checked above
	})
	if err != nil {
		return nil, refuse(ConstraintBroken, "%s", quote(err.Error()))
	}
	chain := make([]*x509.Certificate, len(chains[0]))
	for i, c := range chains[0] {
		k := slices.IndexFunc(path, func(n *node) bool { return bytes.Equal(n.cert.Raw, c.Raw) })
		chain[i] = path[k].cert
	}
	return chain, nil
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

// limitsNames says whether a CA limits the directory names that it certifies (RFC
// 5280, 4.2.1.10). An EK has no others, and crypto/x509 does not look at these.
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
		func(s subtree) bool { return s.Base.Tag == directoryName })
}
