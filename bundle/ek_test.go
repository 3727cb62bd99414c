package bundle

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

type change = func(*x509.Certificate)

// wantReason fails unless err refuses for the reason, in a line that can be shown.
func wantReason(t *testing.T, err error, want EKReason, text string) {
	t.Helper()
	refused, ok := errors.AsType[*EKError](err)
	if !ok || refused.Reason != want || !strings.Contains(refused.Text, text) {
		t.Errorf("%v; want %s: %q", err, want, text)
	}
	if err != nil {
		if problem := checkPrintable(err.Error()); problem != nil {
			t.Errorf("%q: %v", err, problem)
		}
	}
}

func TestVerifyEK(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	leaf := ca.newEK(t)
	for name, try := range map[string]func() (*EKChain, error){
		"intermediate pinned":  func() (*EKChain, error) { return anchorsOf(t, root.cert, ca.cert).VerifyEK(leaf, nil, ekTime) },
		"intermediate in hand": func() (*EKChain, error) { return verifyUnder(t, root, leaf, ca.cert) },
		"other way round, twice": func() (*EKChain, error) {
			return anchorsOf(t, ca.cert, root.cert, ca.cert, root.cert).VerifyEK(leaf, nil, ekTime)
		},
		"with rubbish": func() (*EKChain, error) {
			return verifyUnder(t, root, leaf, nil, newRoot(t, "CA").cert, leaf, root.cert, ca.cert)
		},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := try()
			if err != nil {
				t.Fatal(err)
			}
			if got := found.Certificates; len(got) != 3 || !got[0].Equal(leaf) || !got[1].Equal(ca.cert) || !got[2].Equal(root.cert) {
				t.Errorf("chain of %d certificates", len(got))
			}
			if found.Manufacturer != "id:49465800" || found.Vendor != "IFX" || found.Model != "SLB 9670" || found.Version != "id:0D0B" {
				t.Errorf("TPM %q %q %q %q", found.Manufacturer, found.Vendor, found.Model, found.Version)
			}
			if !bytes.Equal(found.Certificates[1].RawSubject, ca.cert.RawSubject) {
				t.Error("the result has a canonical name")
			}
		})
	}
}

func verifyUnder(t *testing.T, root *authority, leaf *x509.Certificate, extra ...*x509.Certificate) (*EKChain, error) {
	t.Helper()
	a := anchorsOf(t, root.cert)
	found, err := a.VerifyEK(leaf, extra, ekTime)
	if err == nil {
		wantLibrary(t, a, found.Certificates, ekTime)
	}
	return found, err
}

// TestEKsThatKeepPartOfTheProfile are accepted.
func TestEKsThatKeepPartOfTheProfile(t *testing.T) {
	root := newRoot(t, "Root")
	multi := pkix.RDNSequence{{
		{Type: oidTPMVersion, Value: "id:0001"}, {Type: oidTPMModel, Value: "x"}, {Type: oidTPMManufacturer, Value: "id:00001014"},
	}}
	for name, changed := range map[string]change{
		"usage of the other kind of key": func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment },
		"no extended usage":              func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil },
		"no attributes":                  func(c *x509.Certificate) { c.ExtraExtensions = nil },
		"one RDN, software TPM":          func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{sanOf(t, multi)} },
		"never expires":                  func(c *x509.Certificate) { c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) },
	} {
		if _, err := verifyUnder(t, root, root.newEK(t, changed)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLeafRefused(t *testing.T) {
	root := newRoot(t, "Root")
	attributes := func(values ...string) change {
		return func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{san(t, values...)} }
	}
	sanValue := func(der []byte) change {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: oidSubjectAltName, Critical: true, Value: der}}
		}
	}
	good := san(t, "id:49465800", "m", "v").Value
	for _, c := range []struct {
		name    string
		changed change
		reason  EKReason
		text    string
	}{
		{"CA", func(c *x509.Certificate) { c.IsCA = true }, NotAnEK, "that of a CA"},
		{"CA without a name", func(c *x509.Certificate) { c.IsCA, c.SerialNumber = true, big.NewInt(0x77) }, NotAnEK, "serial number 77 is that of a CA"},
		{"signing key", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, NotAnEK, "decrypts"},
		{"no usage", func(c *x509.Certificate) { c.KeyUsage = 0 }, NotAnEK, "decrypts"},
		{"server", func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, NotAnEK, "other usages"},
		{"any usage", func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		}, NotAnEK, "other usages"},
		{"nothing says EK", func(c *x509.Certificate) { c.UnknownExtKeyUsage, c.ExtraExtensions = nil, nil }, NotAnEK, "neither"},
		{"unknown critical extension", func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}, UnknownCriticalExtension, "1.2.3"},
		{"expired", func(c *x509.Certificate) { c.NotAfter = ekTime.Add(-time.Second) }, Expired, "2026-04-10T23:59:59Z"},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = ekTime.Add(time.Second) }, NotYetValid, "2026-04-11T00:00:01Z"},
		{"SAN: no model", attributes("id:49465800"), Malformed, "model"},
		{"SAN: no version", attributes("id:49465800", "m"), Malformed, "version"},
		{"SAN: twice", attributes("id:49465800", "m", "v", "id:53544D20"), Malformed, "manufacturer"},
		{"SAN: manufacturer", attributes("Infineon", "m", "v"), Malformed, `"Infineon" is not`},
		{"SAN: short manufacturer", attributes("id:494658", "m", "v"), Malformed, `"id:494658" is not`},
		{"SAN: line feed", attributes("id:49465800", "m\n", "v"), Malformed, "model"},
		{"SAN: long", attributes("id:49465800", strings.Repeat("m", 501), "v"), Malformed, "model"},
		{"SAN: number", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{sanOf(t, pkix.RDNSequence{
				{{Type: oidTPMManufacturer, Value: "id:49465800"}}, {{Type: oidTPMModel, Value: 7}}, {{Type: oidTPMVersion, Value: "v"}},
			})}
		}, Malformed, "model"},
		{"SAN: host name too", sanValue(sequenceOf(t, tagged(4, true, mustUnwrap(t, good)), tagged(2, false, []byte("h")))), Malformed, "not one directory name"},
		{"SAN: other kind of name", sanValue(sequenceOf(t, tagged(8, false, []byte{0x2a, 3}))), Malformed, "not one directory name"},
		{"SAN: bytes after the name", sanValue(sequenceOf(t, tagged(4, true, append(mustUnwrap(t, good), 5, 0)))), Malformed, "2 bytes after it"},
		{"SAN: not a name", sanValue(sequenceOf(t, tagged(4, true, []byte{5, 0}))), Malformed, "distinguished name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := verifyUnder(t, root, root.newEK(t, c.changed))
			wantReason(t, err, c.reason, c.text)
		})
	}
}

func TestNoLeafOrNoTime(t *testing.T) {
	root := newRoot(t, "Root")
	_, err := verifyUnder(t, root, nil)
	wantReason(t, err, Malformed, "none")
	_, err = anchorsOf(t, root.cert).VerifyEK(root.newEK(t), nil, time.Time{})
	wantReason(t, err, NotYetValid, "")
}

// mustUnwrap takes the directory name out of a SAN.
func mustUnwrap(t *testing.T, der []byte) []byte {
	t.Helper()
	var names []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &names); err != nil {
		t.Fatal(err)
	}
	return names[0].Bytes
}

func TestKeysRefused(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // to make a weak key
	root := newRoot(t, "Root")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := root.newEK(t)
	changed := func(key any) *x509.Certificate {
		c := *leaf
		c.PublicKey = key
		return &c
	}
	huge := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8192), E: 65537}
	for _, c := range []struct {
		name   string
		leaf   *x509.Certificate
		reason EKReason
		text   string
	}{
		{"RSA-1024", changed(&weak.PublicKey), WeakKey, "RSA key of 1024 bits"},
		{"P-224", changed(&small.PublicKey), WeakKey, "elliptic-curve key of 224 bits"},
		{"huge RSA", changed(huge), UnparsableKey, "8193 bits"},
		{"not parsed, as RSA for OAEP only", changed(nil), UnparsableKey, "unknown kind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := verifyUnder(t, root, c.leaf)
			wantReason(t, err, c.reason, c.text)
		})
	}
	t.Run("weak key of a CA", func(t *testing.T) {
		ca := &authority{certify(t, root, weak, caTemplate("CA"), nil), weak}
		_, err := verifyUnder(t, root, ca.newEK(t), ca.cert)
		wantReason(t, err, WeakKey, `"CN=CA,`)
	})
}

func TestChainRefused(t *testing.T) {
	root := newRoot(t, "Root")
	other := newRoot(t, "Root")
	noID := func(c *x509.Certificate) { c.SubjectKeyId = []byte{1} } // the same for all: no help
	blindRoot := newRoot(t, "Root", noID)
	sameID := newRoot(t, "Root", noID)
	critical := func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	}
	excluding := func(tag int, name string) change { // all names of a kind
		return func(c *x509.Certificate) {
			subtree := sequenceOf(t, tagged(tag, tag == 4, []byte(name)))
			value := sequenceOf(t, tagged(1, true, subtree))
			c.ExtraExtensions = []pkix.Extension{{Id: oidNameConstraints, Value: value}}
		}
	}
	flipped := root.newEK(t)
	flipped.Signature = slices.Clone(flipped.Signature)
	flipped.Signature[len(flipped.Signature)-1] ^= 1
	sha1 := func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }

	for _, c := range []struct {
		name   string
		ca     *authority
		leaf   func(ca *authority) *x509.Certificate
		root   *authority
		reason EKReason
		text   string
	}{
		{"no CA", newRoot(t, "Nobody"), nil, root, IssuerMissing, `issued by "CN=Nobody,`},
		{"CA of another root", newRoot(t, "Unknown").newCA(t, "CA"), nil, root, IssuerMissing, `issued by "CN=Unknown,`},
		{"root of the same name", other.newCA(t, "CA"), nil, root, IssuerMissing, `issued by "CN=Root,`},
		{"the same with its key identifier", sameID.newCA(t, "CA"), nil, blindRoot, BadSignature, "was not signed by the key"},
		{"flipped", nil, func(*authority) *x509.Certificate { return flipped }, root, BadSignature, "was not signed by the key"},
		{"SHA-1 on the EK's", nil, func(*authority) *x509.Certificate { return root.newEK(t, sha1) }, root, WeakSignature, "ECDSA-SHA1"},
		{"SHA-1 on the CA's", root.newCA(t, "CA", sha1), nil, root, WeakSignature, "ECDSA-SHA1"},
		{"CA expired", root.newCA(t, "CA", func(c *x509.Certificate) { c.NotAfter = ekTime.Add(-time.Second) }), nil, root, Expired, `"CN=CA,`},
		{"CA not yet valid", root.newCA(t, "CA", func(c *x509.Certificate) { c.NotBefore = ekTime.Add(time.Second) }), nil, root, NotYetValid, `"CN=CA,`},
		{"EK as CA", root.newCA(t, "CA", func(c *x509.Certificate) { c.IsCA = false }), nil, root, NotACA, "is not a CA certificate"},
		{"CA without basic constraints", root.newCA(t, "CA", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = false, false }), nil, root, NotACA, "is not a CA certificate"},
		{"CA that signs no certificates", root.newCA(t, "CA", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), nil, root, NotACA, "may not sign"},
		{"CA for servers", root.newCA(t, "CA", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), nil, root, NotAnEK, "issues no EK"},
		{"CA with a key for nothing", root.newCA(t, "CA", func(c *x509.Certificate) {
			c.KeyUsage = 0
			c.ExtraExtensions = []pkix.Extension{{Id: oidKeyUsage, Critical: true, Value: []byte{3, 1, 0}}}
		}), nil, root, NotACA, "may not sign"},
		{"CA for other names", root.newCA(t, "CA", excluding(4, tlv(0x30))), nil, root, ConstraintBroken, "limits the names"},
		{"critical extension of the CA", root.newCA(t, "CA", critical), nil, root, UnknownCriticalExtension, "1.2.3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			leaf, extra := (*x509.Certificate)(nil), []*x509.Certificate(nil)
			if c.leaf != nil {
				leaf = c.leaf(c.ca)
			} else {
				leaf, extra = c.ca.newEK(t), []*x509.Certificate{c.ca.cert}
			}
			_, err := verifyUnder(t, c.root, leaf, extra...)
			wantReason(t, err, c.reason, c.text)
		})
	}
}
