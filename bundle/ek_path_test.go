package bundle

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"
	"time"
)

func TestLongChains(t *testing.T) {
	root := newRoot(t, "Root")
	var chain []*x509.Certificate
	ca := root
	for _, name := range []string{"1", "2", "3", "4", "5", "6"} {
		ca = ca.newCA(t, name)
		chain = append(chain, ca.cert)
	}
	if _, err := verifyUnder(t, root, ca.newEK(t), chain...); err != nil {
		t.Errorf("8 certificates: %v", err)
	}
	ca = ca.newCA(t, "7")
	_, err := verifyUnder(t, root, ca.newEK(t), append(chain, ca.cert)...)
	wantReason(t, err, TooComplex, "more than 8 certificates")

	limited := root.newCA(t, "A", func(c *x509.Certificate) { c.MaxPathLenZero = true })
	below := limited.newCA(t, "B")
	_, err = verifyUnder(t, root, below.newEK(t), limited.cert, below.cert)
	wantReason(t, err, ConstraintBroken, "allows 0 CAs below it")
}

// TestRootsAreTheCallersWord: who signed a root, and with which hash, does not
// matter; its validity does.
func TestRootsAreTheCallersWord(t *testing.T) {
	root := newRoot(t, "Root", func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 })
	leaf := root.newEK(t)
	if _, err := verifyUnder(t, root, leaf); err != nil {
		t.Errorf("SHA-1 on the root: %v", err)
	}
	_, err := anchorsOf(t, root.cert).VerifyEK(leaf, nil, root.cert.NotAfter.Add(time.Second))
	wantReason(t, err, Expired, "")

	orphan := newRoot(t, "Never published").newCA(t, "Root without parent")
	leaf = orphan.newEK(t)
	_, err = anchorsOf(t, root.cert, orphan.cert).VerifyEK(leaf, nil, ekTime)
	wantReason(t, err, IssuerMissing, "Never published")
	file := mustBuild(t, []Certificate{{"AMD", "Root without parent", orphan.cert}}, header(Roots, Sealsmith)).Encode()
	anchors, err := ParseAnchors(file)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := anchors.VerifyEK(leaf, nil, ekTime); err != nil || len(found.Certificates) != 2 {
		t.Errorf("root of a bundle: %v, %v", found, err)
	}
	_, err = ParseAnchors(mustBuild(t, []Certificate{{"AMD", "CA", newRoot(t, "CA").cert}}, header(Intermediates, Sealsmith)).Encode())
	wantError(t, err, "no root certificate")
}

// TestReissuedCA: the same name and key in several certificates, of which one fits.
func TestReissuedCA(t *testing.T) {
	root, stranger := newRoot(t, "Root"), newRoot(t, "Stranger")
	ca := root.newCA(t, "CA")
	again := func(by *authority, changes ...change) *x509.Certificate {
		return certify(t, by, ca.key, caTemplate("CA"), changes)
	}
	expired := again(root, func(c *x509.Certificate) { c.NotAfter = ekTime.Add(-time.Second) })
	elsewhere := again(stranger)
	leaf := ca.newEK(t)
	found, err := verifyUnder(t, root, leaf, elsewhere, expired, ca.cert)
	if err != nil || !found.Certificates[1].Equal(ca.cert) {
		t.Errorf("%v, %v", found, err)
	}
	_, err = verifyUnder(t, root, leaf, elsewhere, expired)
	wantReason(t, err, Expired, "")
}

func TestNameMismatch(t *testing.T) {
	root := newRoot(t, "Root")
	leaf := root.called(t, pkix.Name{CommonName: "Other"}.ToRDNSequence()).newEK(t)
	_, err := verifyUnder(t, root, leaf)
	wantReason(t, err, NameMismatch, `by the key of the certificate of "CN=Root,`)
}

// TestNamesByRFC5280: the CA is found under each spelling of its name.
func TestNamesByRFC5280(t *testing.T) {
	root := newRoot(t, "Root Ça 1")
	if _, err := verifyUnder(t, root, root.called(t, rdnsOf("example,  INC.", " rOOT ça  1")).newEK(t)); err != nil {
		t.Error(err)
	}
	_, err := verifyUnder(t, root, root.called(t, rdnsOf("Example, Inc.", "RootÇa 1")).newEK(t))
	wantReason(t, err, NameMismatch, "")
}

func rdnsOf(organization, name string) pkix.RDNSequence {
	return pkix.RDNSequence{
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 6}, Value: "de"}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: organization}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: name}},
	}
}

// TestLimitsOfOtherNames: an EK has no host name, so a CA's limit for those does not
// touch it.
func TestLimitsOfOtherNames(t *testing.T) {
	root := newRoot(t, "Root", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.com"} })
	if _, err := verifyUnder(t, root, root.newEK(t)); err != nil {
		t.Error(err)
	}
}

// TestHostileIntermediates: what comes with the evidence bounds the work, and
// neither hides an honest chain nor makes one.
func TestHostileIntermediates(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	leaf := ca.newEK(t)
	honest := anchorsOf(t, root.cert, ca.cert)

	a := newRoot(t, "CA")
	b := a.newCA(t, "B")
	circle := []*x509.Certificate{b.cert, certify(t, b, a.key, caTemplate("CA"), nil), a.cert}
	crowd := make([]*x509.Certificate, 5000)
	for i := range crowd {
		c := *a.cert // as good as a certificate of its own
		c.Raw, c.SubjectKeyId = append(slices.Clone(c.Raw), byte(i), byte(i>>8)), nil
		crowd[i] = &c
	}
	// Each is certified by each: more paths than anybody can walk.
	tangle := make([]*x509.Certificate, 0, 12*12)
	var tangled [12]*authority
	for i := range tangled {
		tangled[i] = newRoot(t, "T", func(c *x509.Certificate) { c.SubjectKeyId = []byte{1} })
	}
	for i := range tangled {
		for k := range tangled {
			tangle = append(tangle, certify(t, tangled[i], tangled[k].key, caTemplate("T"), []change{func(c *x509.Certificate) { c.SubjectKeyId = []byte{1} }}))
		}
	}
	for _, c := range []struct {
		name   string
		leaf   *x509.Certificate
		extra  []*x509.Certificate
		reason EKReason
	}{
		{"circle", a.newEK(t), circle, IssuerMissing},
		{"crowd that signed it", a.newEK(t), crowd, TooComplex},
		{"crowd that signed nothing", leaf, crowd, TooComplex},
		{"tangle", tangled[0].newEK(t), tangle, TooComplex},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			_, err := verifyUnder(t, root, c.leaf, c.extra...)
			wantReason(t, err, c.reason, "")
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if _, err := honest.VerifyEK(leaf, c.extra, ekTime); err != nil {
				t.Errorf("honest chain: %v", err)
			}
		})
	}
}

// TestNamesakes: CAs that share a name neither hide each other nor the reason, and
// each is tried once however often it is there.
func TestNamesakes(t *testing.T) {
	blind := func(c *x509.Certificate) { c.SubjectKeyId = []byte{1} } // no help to tell them apart
	stranger, root := newRoot(t, "Root", blind), newRoot(t, "Root", blind)
	many := slices.Repeat([]*x509.Certificate{stranger.cert}, 70)
	anchors := anchorsOf(t, append(slices.Clone(many), root.cert)...)
	if _, err := anchors.VerifyEK(root.newEK(t), many, ekTime); err != nil {
		t.Error(err)
	}
	_, err := anchors.VerifyEK(newRoot(t, "Root", blind).newEK(t), many, ekTime)
	wantReason(t, err, BadSignature, "")

	told := newRoot(t, "Root")
	flipped := told.newEK(t)
	flipped.Signature = slices.Clone(flipped.Signature)
	flipped.Signature[len(flipped.Signature)-1] ^= 1
	_, err = anchorsOf(t, newRoot(t, "Root").cert, told.cert).VerifyEK(flipped, nil, ekTime)
	wantReason(t, err, BadSignature, "")
}
