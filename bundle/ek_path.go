package bundle

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// search looks for a chain from an EK certificate to a root. It goes by canonical
// names, which crypto/x509 does not, and explains why there is none; what it found
// is then judged by decide.
type search struct {
	anchors *Anchors
	extra   map[string][]*node
	at      time.Time
	looks   int // possible issuers looked at
	checks  int // signatures checked
	proofs  map[link]bool

	refused *EKError // why the path that came furthest came no further
	depth   int      // of that path
}

// link is a certificate and one that may have issued it.
type link struct{ child, issuer *node }

// extend returns a chain that begins with path, or nil and leaves in s why not.
func (s *search) extend(path []*node) []*node {
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
		refused := s.decide(longer)
		if refused == nil {
			return longer
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
	if s.looks++; s.looks > limits.BundleLooks || s.checks > limits.BundleChecks {
		s.depth = limits.BundleChain // nothing comes further any more
		s.refused = refuse(TooComplex, "no chain was found by checking %d signatures of %d possible issuers",
			min(s.checks, limits.BundleChecks), min(s.looks, limits.BundleLooks))
		return s.refused
	}
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
	if s.proved(child, issuer) {
		return nil
	}
	s.checks++
	err := s.prove(child, issuer)
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

// prove checks a signature, by crypto/x509, and is all that makes a proof. Those of
// the anchors are kept, one for each, because every EK certificate of a CA needs
// the same.
func (s *search) prove(child, issuer *node) error {
	if err := child.cert.CheckSignatureFrom(issuer.cert); err != nil {
		return err
	}
	s.proofs[link{child, issuer}] = true
	if child.anchor && issuer.anchor {
		child.signer.CompareAndSwap(nil, issuer)
	}
	return nil
}

// proved says whether prove has found that issuer's key signed child.
func (s *search) proved(child, issuer *node) bool {
	return child.signer.Load() == issuer || s.proofs[link{child, issuer}]
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
