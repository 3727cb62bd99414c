package bundle

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	// crypto/x509 overlooks what is behind the signature, which nobody signed.
	var parts []asn1.RawValue
	if _, err := asn1.Unmarshal(c.Raw, &parts); err != nil || len(parts) != 3 {
		return nil, errors.New("more in it than a certificate has")
	}
	subject, err := canonicalName(c.RawSubject)
	if err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	issuer, err := canonicalName(c.RawIssuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	if issuer == "" { // RFC 5280, 4.1.2.4; an EK certificate may have no subject
		return nil, errors.New("issuer: it has no name")
	}
	return &node{cert: c, subject: subject, issuer: issuer}, nil
}

// ParseAnchors reads files of CA certificates. Each is a CA bundle, which must be
// as [Parse] wants it and whose kind says what its certificates are; or other PEM,
// where self-signed certificates are roots and the others intermediates. The caller
// trusts the roots in them, so they must not come from where the evidence does.
func ParseAnchors(files ...[]byte) (*Anchors, error) {
	var digests []string
	var nodes []*node
	for i, data := range files {
		some, err := parseAnchorFile(data)
		if err != nil {
			return nil, fmt.Errorf("file %d of %d of CA certificates: %w", i+1, len(files), err)
		}
		digests = append(digests, fmt.Sprintf("sha256:%x", sha256.Sum256(data)))
		nodes = append(nodes, some...)
	}
	return newAnchors(digests, nodes)
}

// NewAnchors takes certificates of CA bundles, all of them or those that a checker
// wants to trust. Each is what its bundle says that it is.
func NewAnchors(members []Member) (*Anchors, error) {
	var nodes []*node
	for _, m := range members {
		n, err := m.node()
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return newAnchors([]string{fmt.Sprintf("content-sha256:%x", contentDigest(members))}, nodes)
}

func newAnchors(digests []string, nodes []*node) (*Anchors, error) {
	a := &Anchors{digests: digests, seen: map[string]bool{}, bySubj: map[string][]*node{}, byKeyID: map[string][]*node{}}
	for _, root := range []bool{true, false} {
		for _, n := range nodes {
			if n.root == root {
				a.add(n)
			}
		}
		if len(a.seen) == 0 {
			return nil, errors.New("no root certificate among the CA certificates: nothing could be verified with them")
		}
	}
	return a, nil
}

func (a *Anchors) add(n *node) {
	if a.seen[string(n.cert.Raw)] {
		return
	}
	n.anchor = true
	a.seen[string(n.cert.Raw)] = true
	a.bySubj[n.subject] = append(a.bySubj[n.subject], n)
	if id := string(n.cert.SubjectKeyId); id != "" {
		a.byKeyID[id] = append(a.byKeyID[id], n)
	}
}

// WithHelpers returns anchors that also look for issuers among the certificates of
// files, each in DER or several in PEM. These are not trusted, whoever signed them:
// they help where they chain to a root that the anchors had before.
func (a *Anchors) WithHelpers(files ...[]byte) (*Anchors, error) {
	more := &Anchors{digests: a.digests, seen: maps.Clone(a.seen), bySubj: clipped(a.bySubj), byKeyID: clipped(a.byKeyID)}
	for i, data := range files {
		nodes, err := parseHelpers(data)
		if err != nil {
			return nil, fmt.Errorf("file %d of %d of intermediates: %w", i+1, len(files), err)
		}
		for _, n := range nodes {
			n.root = false
			more.add(n)
		}
	}
	return more, nil
}

// clipped is a copy to whose lists can be added.
func clipped(lists map[string][]*node) map[string][]*node {
	all := maps.Clone(lists)
	for k, list := range all {
		all[k] = slices.Clip(list)
	}
	return all
}

func parseHelpers(data []byte) ([]*node, error) {
	if len(data) > limits.BundleFile {
		return nil, fmt.Errorf("it has more than %d bytes", limits.BundleFile)
	}
	if len(data) == 0 || data[0] != sequence {
		return parsePEMAnchors(string(data))
	}
	c, err := parseStranger(data)
	if err != nil {
		return nil, err
	}
	n, err := newNode(c)
	return []*node{n}, err
}

// Digest is the SHA-256 of each file, in the order in which they were given, or of
// the content (see [ContentDigest]): what to print, so that a person can compare it
// with what was pinned.
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
	for _, m := range Members(b) {
		n, err := m.node()
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// node says by the bundle whether a certificate is a root, not by who signed it: the
// roots of some vendors have an issuer that was never published.
func (m Member) node() (*node, error) {
	n, err := newNode(m.X509)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", m.Vendor, m.Name, err)
	}
	n.root, n.vendor = m.Kind == Roots, m.Vendor
	return n, nil
}

// parsePEMAnchors reads PEM with lines of text between the certificates, as
// distributions ship it.
func parsePEMAnchors(data string) ([]*node, error) {
	var nodes []*node
	err := eachBlock(data, "CERTIFICATE", limits.BundleCertificate, func(der []byte) error {
		c, err := parseStranger(der)
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
