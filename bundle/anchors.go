package bundle

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Anchors are the CA certificates that a checker trusts, ready to verify EK
// certificates. It is immutable and safe for concurrent use.
type Anchors struct {
	digests []string
	seen    map[string]bool    // the certificates, by their DER
	bySubj  map[string][]*node // by their canonical subject, roots first
	byKeyID map[string][]*node // by their subject key identifier
}

// node is a certificate with its names as [canonicalName] writes them.
type node struct {
	cert            *x509.Certificate
	subject, issuer string
	root            bool
	vendor          string // of a CA bundle's entry
	anchor          bool   // of the [Anchors], not of the evidence
	// signer is, of an anchor, one whose key is known to have signed it. It is set
	// at most once.
	signer atomic.Pointer[node]
}

func newNode(c *x509.Certificate) (*node, error) {
	subject, err := canonicalName(c.RawSubject)
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	issuer, err := canonicalName(c.RawIssuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return &node{cert: c, subject: subject, issuer: issuer}, nil
}

// ParseAnchors reads files of CA certificates. Each is a CA bundle, which must be
// as [Parse] wants it and whose kind says what its certificates are; or other PEM,
// where self-signed certificates are roots and the others intermediates. The caller
// trusts the roots in them, so they must not come from where the evidence does.
func ParseAnchors(files ...[]byte) (*Anchors, error) {
	a := &Anchors{seen: map[string]bool{}, bySubj: map[string][]*node{}, byKeyID: map[string][]*node{}}
	var roots, others []*node
	for i, data := range files {
		nodes, err := parseAnchorFile(data)
		if err != nil {
			return nil, fmt.Errorf("file %d of %d of CA certificates: %w", i+1, len(files), err)
		}
		a.digests = append(a.digests, fmt.Sprintf("sha256:%x", sha256.Sum256(data)))
		for _, n := range nodes {
			if n.root {
				roots = append(roots, n)
			} else {
				others = append(others, n)
			}
		}
	}
	if len(roots) == 0 {
		return nil, errors.New("no root certificate among the CA certificates: nothing could be verified with them")
	}
	for _, n := range append(roots, others...) {
		if a.seen[string(n.cert.Raw)] {
			continue
		}
		n.anchor = true
		a.seen[string(n.cert.Raw)] = true
		a.bySubj[n.subject] = append(a.bySubj[n.subject], n)
		if id := string(n.cert.SubjectKeyId); id != "" {
			a.byKeyID[id] = append(a.byKeyID[id], n)
		}
	}
	return a, nil
}

// Digest is the SHA-256 of each file, in the order in which they were given: what
// to print, so that a person can compare it with what was pinned.
func (a *Anchors) Digest() string { return strings.Join(a.digests, ", ") }

func parseAnchorFile(data []byte) ([]*node, error) {
	if len(data) > limits.BundleFile {
		return nil, fmt.Errorf("it has more than %d bytes", limits.BundleFile)
	}
	if !bytes.HasPrefix(data, []byte(sealsmithFirst)) && !bytes.HasPrefix(data, []byte(tpmtbFirst)) {
		return parsePEMAnchors(string(data))
	}
	b, err := Parse(data)
	if err != nil {
		return nil, err
	}
	var nodes []*node
	for _, c := range b.certs {
		n, err := newNode(c.X509)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", c.Vendor, c.Name, err)
		}
		// Not by who signed it: the roots of some vendors have an issuer that was
		// never published.
		n.root = b.header.Kind == Roots
		n.vendor = c.Vendor
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// parsePEMAnchors reads PEM with lines of text between the certificates, as
// distributions ship it.
func parsePEMAnchors(data string) ([]*node, error) {
	var nodes []*node
	err := eachBlock(data, "CERTIFICATE", limits.BundleCertificate, func(der []byte) error {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		n, err := newNode(c)
		if err != nil {
			return err
		}
		n.root = n.subject == n.issuer && n.signedBy(n)
		nodes = append(nodes, n)
		return nil
	})
	return nodes, err
}
