package bundle

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"
)

// with adds an extension to a certificate that is made.
func with(e pkix.Extension) change {
	return func(c *x509.Certificate) { c.ExtraExtensions = append(c.ExtraExtensions, e) }
}

// TestOddChains: each would be a chain for a reader that overlooks one thing.
func TestOddChains(t *testing.T) {
	root := newRoot(t, "Root")
	policy := func(c *x509.Certificate) { c.Policies = []x509.OID{mustOID(t, "1.2.3")} }
	anyPolicy := mustDER(t, asn1.ObjectIdentifier{2, 5, 29, 32, 0})
	mapped := with(pkix.Extension{Id: oidPolicyMappings, Critical: true,
		Value: sequenceOf(t, asn1.RawValue{FullBytes: sequenceOf(t, asn1.RawValue{FullBytes: anyPolicy}, asn1.RawValue{FullBytes: anyPolicy})})})
	demand := with(pkix.Extension{Id: oidPolicyConstraints, Critical: true, Value: sequenceOf(t, tagged(0, false, []byte{0}))})
	noUsages := func(c *x509.Certificate) {
		c.UnknownExtKeyUsage = nil
		with(pkix.Extension{Id: oidExtKeyUsage, Critical: true, Value: []byte{0x30, 0}})(c)
	}
	mail := with(pkix.Extension{Id: oidNameConstraints, Critical: true,
		Value: sequenceOf(t, tagged(1, true, sequenceOf(t, tagged(1, false, []byte("example.com")))))})
	nameless := func(c *x509.Certificate) { c.Subject, c.RawSubject = pkix.Name{}, []byte{0x30, 0} }
	noRDN := func(c *x509.Certificate) { c.Subject, c.RawSubject = pkix.Name{}, []byte{0x30, 2, 0x31, 0} }
	for _, c := range []struct {
		name   string
		ca     []change
		leaf   []change
		reason EKReason
	}{
		{"the EK's certificate demands a policy", nil, []change{demand}, ConstraintBroken},
		{"every policy is mapped", []change{policy, mapped}, nil, ConstraintBroken},
		{"every policy is mapped, by a CA without policies", []change{mapped}, nil, ConstraintBroken},
		{"a list of no extended usages", nil, []change{noUsages}, NotAnEK},
		{"a CA with a list of no extended usages", []change{noUsages}, nil, NotAnEK},
		{"a limit of mail addresses, which a subject may have, too", []change{mail}, nil, ConstraintBroken},
		{"a CA without a name", []change{nameless}, nil, Malformed},
		{"a CA whose name has an empty part", []change{noRDN}, nil, Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca := root.newCA(t, "CA", c.ca...)
			_, err := verifyUnder(t, root, ca.newEK(t, c.leaf...), ca.cert)
			wantReason(t, err, c.reason, "")
		})
	}
}

func mustDER(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestStuffedCertificate: crypto/x509 overlooks what is behind the signature, inside
// the certificate, where nobody signed it.
func TestStuffedCertificate(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	leaf := ca.newEK(t)
	stuffed := func(c *x509.Certificate) *x509.Certificate {
		var parts []asn1.RawValue
		if _, err := asn1.Unmarshal(c.Raw, &parts); err != nil {
			t.Fatal(err)
		}
		return parsed(t, sequenceOf(t, append(parts, asn1.RawValue{Tag: asn1.TagOctetString, Bytes: []byte("junk")})...))
	}
	_, err := verifyUnder(t, root, stuffed(leaf), ca.cert)
	wantReason(t, err, Malformed, "")
	_, err = verifyUnder(t, root, leaf, stuffed(ca.cert))
	wantReason(t, err, IssuerMissing, "")
}

// TestUselessKeys: keys with which nobody can be challenged in secret.
func TestUselessKeys(t *testing.T) {
	root := newRoot(t, "Root")
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n := new(big.Int).SetBit(big.NewInt(1), 2047, 1)
	even := new(big.Int).SetBit(new(big.Int), 2047, 1)
	for _, c := range []struct {
		name   string
		key    any
		reason EKReason
		text   string
	}{
		{"Ed25519", ed, NotAnEK, "decrypts"},
		{"RSA with the exponent 1", &rsa.PublicKey{N: n, E: 1}, WeakKey, "exponent 1"},
		{"RSA with an even exponent", &rsa.PublicKey{N: n, E: 65536}, WeakKey, "exponent 65536"},
		{"RSA with an even modulus", &rsa.PublicKey{N: even, E: 65537}, WeakKey, "even"},
	} {
		t.Run(c.name, func(t *testing.T) {
			template := ekTemplate(t)
			template.SerialNumber = big.NewInt(1)
			der, err := x509.CreateCertificate(rand.Reader, template, root.cert, c.key, root.key)
			if err != nil {
				t.Fatal(err)
			}
			_, err = verifyUnder(t, root, parsed(t, der))
			wantReason(t, err, c.reason, c.text)
		})
	}
}

// TestDecideLooksAtKeys: a signature by a weak key proves nothing, whoever found it.
func TestDecideLooksAtKeys(t *testing.T) {
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot(t, "Root")
	ca := &authority{certify(t, root, small, caTemplate("CA"), nil), small}
	l, c, r := mustNode(t, ca.newEK(t)), mustNode(t, ca.cert), mustNode(t, root.cert)
	r.root = true
	s := &search{at: ekTime, proofs: map[link]bool{{l, c}: true, {c, r}: true}}
	if refused := s.decide([]*node{l, c, r}); refused == nil || refused.Reason != WeakKey {
		t.Errorf("%v", refused)
	}
}

// TestTangleOfProvedLinks: CAs with several certificates each, so that few signatures
// prove very many paths, and a crowd of namesakes to look at for each of them.
func TestTangleOfProvedLinks(t *testing.T) {
	root, stranger := newRoot(t, "Root"), newRoot(t, "Stranger")
	var tangle []*x509.Certificate
	ca := stranger
	for _, name := range []string{"1", "2", "3", "4", "5", "6"} {
		above := ca
		ca = above.newCA(t, name)
		tangle = append(tangle, ca.cert, certify(t, above, ca.key, caTemplate(name), nil), certify(t, above, ca.key, caTemplate(name), nil))
	}
	useless := certify(t, root, newKey(t), caTemplate("1"), []change{func(c *x509.Certificate) { c.IsCA = false }})
	for i := range 20000 {
		c := *useless
		c.Raw = append(c.Raw[:len(c.Raw):len(c.Raw)], byte(i), byte(i>>8))
		tangle = append(tangle, &c)
	}
	start := time.Now()
	_, err := verifyUnder(t, root, ca.newEK(t), tangle...)
	wantReason(t, err, TooComplex, "")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
