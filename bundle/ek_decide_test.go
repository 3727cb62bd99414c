package bundle

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// wantLibrary fails unless crypto/x509 accepts a chain that we accepted, too.
func wantLibrary(t *testing.T, a *Anchors, chain []*x509.Certificate, at time.Time) {
	t.Helper()
	path := make([]*node, len(chain))
	for i, c := range chain {
		n, err := newNode(c)
		if err != nil {
			t.Fatal(err)
		}
		n.root = i == len(chain)-1 && slices.ContainsFunc(a.bySubj[n.subject], func(known *node) bool { return known.root && known.cert.Equal(c) })
		path[i] = n
	}
	if refused := verifyByLibrary(path, at); refused != nil {
		t.Errorf("crypto/x509 refuses what was accepted: %v", refused)
	}
}

// TestDecideBelievesNoSearch: a path that no proof connects is no chain, whatever the
// search made of it.
func TestDecideBelievesNoSearch(t *testing.T) {
	root, stranger := newRoot(t, "Root"), newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	leaf := ca.newEK(t)
	made := func(c *x509.Certificate, root bool) *node {
		n, err := newNode(c)
		if err != nil {
			t.Fatal(err)
		}
		n.root = root
		return n
	}
	l, c, r, other := made(leaf, false), made(ca.cert, false), made(root.cert, true), made(stranger.cert, true)
	mute := made(certify(t, root, ca.key, caTemplate("CA"), []change{func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }}), false)
	below := made(certify(t, root, ca.key, caTemplate("CA"), []change{func(c *x509.Certificate) { c.IsCA = false }}), false)
	for _, one := range []struct {
		name    string
		path    []*node
		proved  []link
		refused EKReason
	}{
		{"chain", []*node{l, c, r}, []link{{l, c}, {c, r}}, ""},
		{"no proofs", []*node{l, c, r}, nil, BadSignature},
		{"no proof of the first", []*node{l, c, r}, []link{{c, r}}, BadSignature},
		{"no proof of the last", []*node{l, c, r}, []link{{l, c}}, BadSignature},
		{"proofs of another root", []*node{l, c, other}, []link{{l, c}, {c, r}}, BadSignature},
		{"proofs the other way round", []*node{l, c, r}, []link{{c, l}, {r, c}}, BadSignature},
		{"one left out", []*node{l, r}, []link{{l, c}, {c, r}}, BadSignature},
		{"names that do not fit", []*node{l, r}, []link{{l, r}}, BadSignature},
		{"no root", []*node{l, c}, []link{{l, c}, {c, r}}, IssuerMissing},
		{"alone", []*node{l}, nil, IssuerMissing},
		{"issuer that is no CA", []*node{l, made(leaf, false), r}, nil, BadSignature},
		{"issuer that may not sign", []*node{l, mute, r}, []link{{l, mute}, {mute, r}}, NotACA},
		{"EK certificate as CA", []*node{l, below, r}, []link{{l, below}, {below, r}}, NotACA},
	} {
		t.Run(one.name, func(t *testing.T) {
			s := &search{at: ekTime, proofs: map[link]bool{}}
			for _, p := range one.proved {
				s.proofs[p] = true
			}
			var got EKReason
			if refused := s.decide(one.path); refused != nil {
				got = refused.Reason
			}
			if got != one.refused {
				t.Errorf("%q, want %q", got, one.refused)
			}
		})
	}
}

// TestProofsAreKept: the signatures of anchors are checked once; a certificate that
// came with the evidence leaves nothing behind.
func TestProofsAreKept(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	a := anchorsOf(t, root.cert, ca.cert)
	known := a.bySubj[mustNode(t, ca.cert).subject][0]
	again := certify(t, root, ca.key, caTemplate("CA"), nil)
	for range 2 {
		checks := checksOf(t, a, ca.newEK(t))
		if kept := known.signer.Load(); kept == nil || !kept.cert.Equal(root.cert) {
			t.Fatal("the signature of an anchor is not remembered")
		}
		if checks > 2 {
			t.Errorf("%d signatures checked", checks)
		}
	}
	if checks := checksOf(t, a, ca.newEK(t), again); checks != 1 {
		t.Errorf("%d signatures checked of an EK certificate under a known CA, want 1", checks)
	}

	// A helper may sign an anchor, and is not remembered.
	outer := newRoot(t, "Outer")
	helper := outer.newCA(t, "Helper")
	b := anchorsOf(t, outer.cert, helper.newCA(t, "CA").cert)
	inner := b.bySubj[known.subject][0]
	if _, err := b.VerifyEK(ca.newEK(t), []*x509.Certificate{helper.cert}, ekTime); err == nil {
		t.Error("accepted an EK certificate of a namesake")
	}
	if inner.signer.Load() != nil {
		t.Error("a certificate of the evidence is remembered")
	}
}

func mustNode(t *testing.T, c *x509.Certificate) *node {
	t.Helper()
	n, err := newNode(c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checksOf counts the signatures that are checked for an EK certificate.
func checksOf(t *testing.T, a *Anchors, leaf *x509.Certificate, helpers ...*x509.Certificate) int {
	t.Helper()
	s := &search{anchors: a, extra: a.index(helpers), at: ekTime, proofs: map[link]bool{}}
	if s.extend([]*node{mustNode(t, leaf)}) == nil {
		t.Fatal(s.refused)
	}
	return s.checks
}

// TestConcurrentVerify: many verify with the same anchors, some after the CA expired.
func TestConcurrentVerify(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	again := certify(t, root, ca.key, caTemplate("CA"), nil)
	a := anchorsOf(t, root.cert, ca.cert, again)
	leaf := ca.newEK(t)
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			if i%2 == 0 {
				if _, err := a.VerifyEK(leaf, nil, ekTime); err != nil {
					t.Error(err)
				}
				return
			}
			_, err := a.VerifyEK(leaf, nil, ekTime.AddDate(3, 0, 0))
			if refused, ok := errors.AsType[*EKError](err); !ok || refused.Reason != Expired {
				t.Errorf("after the end: %v", err)
			}
		})
	}
	group.Wait()
}

// TestPolicyConstraints are left to crypto/x509.
func TestPolicyConstraints(t *testing.T) {
	root := newRoot(t, "Root")
	demand := sequenceOf(t, tagged(0, false, []byte{0})) // requireExplicitPolicy, at once
	demanding := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidPolicyConstraints, Critical: true, Value: demand}}
		c.Policies = []x509.OID{mustOID(t, "1.2.3")}
	}
	ca := root.newCA(t, "CA", demanding)
	_, err := verifyUnder(t, root, ca.newEK(t), ca.cert)
	wantReason(t, err, ConstraintBroken, "polic")
	with := ca.newEK(t, func(c *x509.Certificate) { c.Policies = []x509.OID{mustOID(t, "1.2.3")} })
	if _, err := verifyUnder(t, root, with, ca.cert); err != nil {
		t.Error(err)
	}
}

func mustOID(t *testing.T, text string) x509.OID {
	t.Helper()
	oid, err := x509.ParseOID(text)
	if err != nil {
		t.Fatal(err)
	}
	return oid
}
