package bundle

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/limits"
)

func TestParseAnchors(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	leaf := ca.newEK(t)
	text := []byte("Certificate:\n    Data: ünd\tso weiter\n\n")
	plain := bytes.Join([][]byte{text, pemFile(root.cert), text, pemFile(ca.cert)}, nil)
	pinned := []Certificate{{"IFX", "Root", root.cert}}
	for name, files := range map[string][][]byte{
		"text between":    {plain},
		"CRLF":            {bytes.ReplaceAll(plain, []byte("\n"), []byte("\r\n"))},
		"two files":       {pemFile(ca.cert), pemFile(root.cert)},
		"no line feed":    {bytes.TrimRight(plain, "\n")},
		"our bundles":     {mustBuild(t, pinned, header(Roots, Sealsmith)).Encode(), pemFile(ca.cert)},
		"tpmtb's bundles": {mustBuild(t, pinned, header(Roots, TPMTB)).Encode(), pemFile(ca.cert)},
	} {
		a, err := ParseAnchors(files...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := a.VerifyEK(leaf, nil, ekTime); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var digests []string
		for _, f := range files {
			digests = append(digests, fmt.Sprintf("sha256:%x", sha256.Sum256(f)))
		}
		if want := strings.Join(digests, ", "); a.Digest() != want {
			t.Errorf("%s: digest %s, want %s", name, a.Digest(), want)
		}
	}
}

func TestParseAnchorsRefuses(t *testing.T) {
	root := newRoot(t, "Root")
	good := string(pemFile(root.cert))
	bundled := string(mustBuild(t, []Certificate{{"IFX", "Root", root.cert}}, header(Roots, Sealsmith)).Encode())
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	for _, c := range []struct{ name, file, want string }{
		{"empty", "", "file 1 of 1 of CA certificates: no PEM block"},
		{"text", "no certificate\n", "no PEM block"},
		{"only an intermediate", string(pemFile(root.newCA(t, "CA").cert)), "no root certificate"},
		{"only a new key of a root, signed by its old one", string(pemFile(certify(t, root, newKey(t), caTemplate("Root"), nil))), "no root certificate"},
		{"private key", good + private, `line 12 is "-----BEGIN PRIVATE KEY-----"`},
		{"no end", good[:len(good)-30], "begins in line 1 has no end"},
		{"end alone", "-----END CERTIFICATE-----\n", "line 1 is"},
		{"two beginnings", "-----BEGIN CERTIFICATE-----\n" + good, "line 2 is"},
		{"byte-order mark", "\ufeff" + good, "line 1 is"},
		{"indented", " " + good, "line 1 is"},
		{"trusted certificate", strings.ReplaceAll(good, "CERTIFICATE", "TRUSTED CERTIFICATE"), "line 1 is"},
		{"headers", strings.Replace(good, "-----\n", "-----\nX: y\n\n", 1), "begins in line 1: illegal base64"},
		{"damaged", strings.Replace(good, "\nM", "\nN", 1), "begins in line 1: "},
		{"long", "-----BEGIN CERTIFICATE-----\n" + strings.Repeat("A", limits.BundleCertificate+1) + "\n-----END CERTIFICATE-----\n", "more than 65536 characters"},
		{"large", strings.Repeat("\n", limits.BundleFile+1), "more than 16777216 bytes"},
		{"bundle that was changed", strings.Replace(bundled, "# Vendor: IFX", "# Vendor: STM", 1) + "\n", "line "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseAnchors([]byte(c.file))
			wantError(t, err, c.want)
		})
	}
	_, err := ParseAnchors()
	wantError(t, err, "no root certificate")
	_, err = ParseAnchors([]byte(good), nil)
	wantError(t, err, "file 2 of 2")
}

// FuzzParseAnchors: every PEM block of what is accepted counts, and its roots are
// usable.
func FuzzParseAnchors(f *testing.F) {
	ca := testCA(f, "IFX", 1)
	f.Add(pemFile(ca.X509))
	f.Add([]byte("text\r\n" + string(pemFile(ca.X509, ca.X509))))
	f.Add(mustBuild(f, []Certificate{ca}, header(Roots, Sealsmith)).Encode())
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAnchors(data)
		if err != nil {
			return
		}
		for rest := data; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if !a.seen[string(block.Bytes)] {
				t.Errorf("a block was overlooked in %q", data)
			}
		}
		for der := range a.seen {
			c, err := x509.ParseCertificate([]byte(der))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.VerifyEK(c, []*x509.Certificate{c}, ekTime); err == nil {
				t.Error("a CA is an EK")
			}
		}
	})
}

// FuzzEK: no certificate makes the verifier panic, or is taken for one of ours.
func FuzzEK(f *testing.F) {
	// The same in each process of the fuzzer.
	serial := []change{func(c *x509.Certificate) { c.SerialNumber = big.NewInt(7) }}
	root := &authority{certify(f, nil, throwawayKey, caTemplate("Root"), serial), throwawayKey}
	anchors := anchorsOf(f, root.cert)
	leaf := certify(f, root, throwawayEK, ekTemplate(f), serial)
	f.Add(leaf.Raw, root.cert.Raw)
	f.Add(append(bytes.Clone(leaf.Raw[:len(leaf.Raw)-1]), leaf.Raw[len(leaf.Raw)-1]^1), root.cert.Raw) // another signature
	f.Fuzz(func(t *testing.T, der, extra []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		other, err := x509.ParseCertificate(extra)
		if err != nil {
			other = nil
		}
		if _, err := anchors.VerifyEK(c, []*x509.Certificate{other}, ekTime); (err == nil) != bytes.Equal(c.Raw, leaf.Raw) {
			t.Errorf("%x: %v", der, err)
		}
	})
}
