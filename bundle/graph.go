package bundle

import (
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Graph says which certificate of a set issued which: by the names, as RFC 5280,
// section 7.1 compares them, and by the signature. It is immutable.
type Graph struct {
	links [][]Link
}

// Link is an issuer of a certificate.
type Link struct {
	// Issuer is its index in the set.
	Issuer int
	// Normalised says that the names are equal only by RFC 5280, not byte for
	// byte: readers that compare bytes, such as crypto/x509, find no chain.
	Normalised bool
}

// NewGraph looks for the issuers of each certificate within the set, whose order
// gives the indices. The error is for a name that cannot be read and for a set
// that would take too long: the number of signatures that are checked is bounded.
func NewGraph(certs []Certificate) (*Graph, error) {
	nodes := make([]*node, len(certs))
	bySubject := map[string][]int{}
	for i, c := range certs {
		n, err := newNode(c.X509)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", c.Vendor, c.Name, err)
		}
		nodes[i] = n
		bySubject[n.subject] = append(bySubject[n.subject], i)
	}
	candidates := make([][]int, len(certs))
	checks := limits.BundleSetChecks + len(certs)*limits.BundleSetChecksEach
	for i, n := range nodes {
		for _, k := range bySubject[n.issuer] {
			if n.foreignTo(nodes[k]) < 2 {
				candidates[i] = append(candidates[i], k)
			}
		}
		if len(candidates[i]) > limits.BundleChecks {
			return nil, fmt.Errorf("%s %q: more than %d certificates have the name of its issuer",
				certs[i].Vendor, certs[i].Name, limits.BundleChecks)
		}
		if checks -= len(candidates[i]); checks < 0 {
			return nil, fmt.Errorf("%s %q: too many certificates share their names with others to say which issued which",
				certs[i].Vendor, certs[i].Name)
		}
	}
	g := &Graph{make([][]Link, len(certs))}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, n := range nodes {
		group.Go(func() error {
			for _, k := range candidates[i] {
				if n.signedBy(nodes[k]) {
					normalised := string(n.cert.RawIssuer) != string(nodes[k].cert.RawSubject)
					g.links[i] = append(g.links[i], Link{k, normalised})
				}
			}
			return nil
		})
	}
	return g, group.Wait()
}

// Issuers are the certificates of the set that issued certificate i, without i
// itself, in the order of the set. CAs have several certificates with one key.
func (g *Graph) Issuers(i int) []Link {
	var issuers []Link
	for _, l := range g.links[i] {
		if l.Issuer != i {
			issuers = append(issuers, l)
		}
	}
	return issuers
}

// SelfSigned says whether certificate i names itself as its issuer and has a
// signature of its own key.
func (g *Graph) SelfSigned(i int) bool {
	for _, l := range g.links[i] {
		if l.Issuer == i {
			return true
		}
	}
	return false
}

// signedBy says whether issuer's key made n's signature. The hash does not matter:
// what a signature is worth, others judge.
func (n *node) signedBy(issuer *node) bool {
	c := n.cert
	return checkKey(issuer.cert) == nil && issuer.cert.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
