package bundle

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// modelCA is a CA of a made-up world: some have one name, some one key, and some both.
type modelCA struct {
	name string
	key  crypto.Signer
	root bool
	cert *x509.Certificate
}

func (ca modelCA) keyID() []byte { return []byte(fmt.Sprint(ca.key.Public())) }

// oddities are what may be wrong, or only unusual, with a certificate.
var oddities = []change{
	func(c *x509.Certificate) { c.NotAfter = ekTime.AddDate(0, 0, -1) },
	func(c *x509.Certificate) { c.NotBefore = ekTime.AddDate(0, 0, 1) },
	func(c *x509.Certificate) { c.IsCA = !c.IsCA },
	func(c *x509.Certificate) { c.BasicConstraintsValid, c.IsCA = false, false },
	func(c *x509.Certificate) { c.MaxPathLenZero = c.IsCA },
	func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 1, false },
	func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign },
	func(c *x509.Certificate) { c.KeyUsage = 0 },
	func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 },
	func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
	with(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}),
	func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"example.com"} },
	func(c *x509.Certificate) { c.ExcludedEmailAddresses = []string{"example.com"} },
	func(c *x509.Certificate) { c.Policies = []x509.OID{modelPolicy} },
	func(c *x509.Certificate) { c.Policies = nil },
	with(pkix.Extension{Id: oidPolicyConstraints, Critical: true, Value: []byte{0x30, 3, 0x80, 1, 0}}), // a policy is demanded here
	with(pkix.Extension{Id: oidPolicyConstraints, Critical: true, Value: []byte{0x30, 3, 0x80, 1, 1}}), // below the next
	with(pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 54}, Critical: true, Value: []byte{2, 1, 0}}),
}

var modelPolicy = func() x509.OID { oid, _ := x509.OIDFromInts([]uint64{1, 2, 3, 4}); return oid }()

// drawCert makes a certificate, mostly one with nothing odd about it.
func drawCert(t *rapid.T, c *x509.Certificate, by modelCA, key crypto.Signer) *x509.Certificate {
	for range max(0, rapid.IntRange(-4, 2).Draw(t, "oddities")) {
		rapid.SampledFrom(oddities).Draw(t, "oddity")(c)
	}
	// What crypto/x509 makes no certificate of, or reads none from.
	if !c.IsCA {
		c.MaxPathLen, c.MaxPathLenZero = 0, false
	}
	var extensions []pkix.Extension
	for _, e := range c.ExtraExtensions {
		if !slices.ContainsFunc(extensions, func(other pkix.Extension) bool { return other.Id.Equal(e.Id) }) {
			extensions = append(extensions, e)
		}
	}
	c.ExtraExtensions = extensions
	spelled := rapid.SampledFrom([]string{"%s", " %s ", "%-9s"}).Draw(t, "spelling")
	issuer, err := asn1.Marshal(rdnsOf("Example, Inc.", fmt.Sprintf(spelled, by.name)))
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(int64(rapid.IntRange(1, 1000).Draw(t, "serial")))
	c.AuthorityKeyId = by.keyID() // openssl believes it, and takes one that names itself and no key for self-signed
	der, err := x509.CreateCertificate(rand.Reader, c, &x509.Certificate{RawSubject: issuer, PublicKey: by.key.Public()}, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// TestAgainstOtherVerifiers: in made-up worlds of CAs, what we accept, crypto/x509 and
// openssl accept, too.
func TestAgainstOtherVerifiers(t *testing.T) {
	testenv.Need(t, testenv.OpenSSL)
	keys := []crypto.Signer{newKey(t), newKey(t), newKey(t), newKey(t)}
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		cas := make([]modelCA, rapid.IntRange(1, 6).Draw(rt, "CAs"))
		for i := range cas {
			ca := &cas[i]
			ca.name = rapid.SampledFrom([]string{"A", "B", "C", "D"}).Draw(rt, "name")
			ca.key = keys[rapid.IntRange(0, len(keys)-1).Draw(rt, "key")]
			ca.root = i == 0 || rapid.IntRange(0, 5).Draw(rt, "root") == 0
			by := *ca
			if i > 0 {
				by = cas[rapid.IntRange(max(0, i-2), i-1).Draw(rt, "issuer")]
			}
			template := caTemplate(ca.name)
			template.SubjectKeyId, template.Subject, template.RawSubject = ca.keyID(), pkix.Name{}, mustDER(t, rdnsOf("Example, Inc.", ca.name))
			ca.cert = drawCert(rt, template, by, ca.key)
		}
		leaf := drawCert(rt, ekTemplate(t), cas[rapid.IntRange(max(0, len(cas)-2), len(cas)-1).Draw(rt, "issuer")], keys[0])
		var nodes []*node
		var helpers []*x509.Certificate
		for _, ca := range cas {
			n := mustNode(t, ca.cert)
			n.root = ca.root
			if ca.root || rapid.Bool().Draw(rt, "known") {
				nodes = append(nodes, n)
			} else {
				helpers = append(helpers, ca.cert)
			}
		}
		a, err := newAnchors(nil, nodes)
		if err != nil {
			rt.Fatal(err)
		}
		if _, err := a.VerifyEK(leaf, helpers, ekTime); err != nil {
			return
		}
		found, err := a.VerifyEK(leaf, helpers, ekTime) // from what is remembered
		if err != nil {
			rt.Fatal(err)
		}
		accepted++
		if err := libraryAccepts(t, cas, leaf); err != nil {
			rt.Errorf("crypto/x509: %v", err)
		}
		if err := opensslAccepts(t, found.Certificates); err != nil {
			rt.Errorf("openssl: %v", err)
		}
	})
	if accepted == 0 {
		t.Error("nothing was accepted")
	}
}

// libraryAccepts has crypto/x509 look for a chain among all CAs.
func libraryAccepts(t *testing.T, cas []modelCA, leaf *x509.Certificate) error {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: ekTime,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, ca := range cas {
		if c := mustNode(t, ca.cert).forVerify(); ca.root {
			o.Roots.AddCert(c)
		} else {
			o.Intermediates.AddCert(c)
		}
	}
	c := mustNode(t, leaf).forVerify()
	c.UnhandledCriticalExtensions = nil
	_, err := c.Verify(o)
	return err
}

// opensslAccepts has openssl judge the chain that was found: of CAs with one name it
// tries only one.
func opensslAccepts(t *testing.T, chain []*x509.Certificate) error {
	dir := t.TempDir()
	args := []string{"verify", "-partial_chain", "-policy_check", "-policy", "2.5.29.32.0", "-attime", fmt.Sprint(ekTime.Unix())}
	last := len(chain) - 1
	for _, file := range []struct {
		option string
		certs  []*x509.Certificate
	}{{"-trusted", chain[last:]}, {"-untrusted", chain[1:last]}, {"", chain[:1]}} {
		if len(file.certs) == 0 {
			continue
		}
		path := filepath.Join(dir, "of"+file.option)
		if err := os.WriteFile(path, pemFile(file.certs...), 0o600); err != nil {
			t.Fatal(err)
		}
		if file.option != "" {
			args = append(args, file.option)
		}
		args = append(args, path)
	}
	out, err := exec.Command("openssl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
