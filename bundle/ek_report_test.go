package bundle

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func findingIDs(r *EKReport) []string {
	var ids []string
	for _, f := range r.Findings {
		ids = append(ids, f.ID)
	}
	return ids
}

func TestFindingsAboutEKs(t *testing.T) {
	root := newRoot(t, "Root")
	bundled := func(vendor string, kind Kind, c *x509.Certificate) []byte {
		return mustBuild(t, []Certificate{{vendor, "CA", c}}, header(kind, Sealsmith)).Encode()
	}
	ca := root.newCA(t, "CA")
	attributes := func(values ...string) change {
		return func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{san(t, values...)} }
	}
	renamed := root.called(t, rdnsOf("EXAMPLE, Inc.", "Root"))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaEK := func(u x509.KeyUsage) *x509.Certificate {
		return certify(t, root, rsaKey, ekTemplate(t), []change{func(c *x509.Certificate) { c.KeyUsage = u }})
	}
	ifx := bundled("IFX", Roots, root.cert)
	for _, c := range []struct {
		name  string
		files [][]byte
		leaf  *x509.Certificate
		want  []string
	}{
		{"nothing", [][]byte{ifx}, root.newEK(t), nil},
		{"nothing, RSA", [][]byte{ifx}, rsaEK(x509.KeyUsageKeyEncipherment), nil},
		{"no vendor known", [][]byte{pemFile(root.cert)}, root.newEK(t), nil},
		{"no extended usage", [][]byte{ifx}, root.newEK(t, func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }), []string{"no-ek-usage"}},
		{"no attributes", [][]byte{ifx}, root.newEK(t, func(c *x509.Certificate) { c.ExtraExtensions = nil }), []string{"no-attributes"}},
		{"software TPM", [][]byte{ifx}, root.newEK(t, attributes("id:00001014", "swtpm", "id:1")), []string{"unknown-vendor"}},
		{"RSA usage of an ECC key", [][]byte{ifx}, root.newEK(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), []string{"key-usage"}},
		{"ECC usage of an RSA key", [][]byte{ifx}, rsaEK(x509.KeyUsageKeyAgreement), []string{"key-usage"}},
		{"more usages", [][]byte{ifx}, rsaEK(x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature), []string{"key-usage"}},
		{"another vendor", [][]byte{bundled("STM", Roots, root.cert)}, root.newEK(t), []string{"vendor-mismatch"}},
		{"another vendor's root, the vendor's own CA", [][]byte{bundled("STM", Roots, root.cert), bundled("IFX", Intermediates, ca.cert)}, ca.newEK(t), nil},
		{"the vendor's root, a CA of nobody", [][]byte{ifx, pemFile(ca.cert)}, ca.newEK(t), nil},
		{"other spelling of a name", [][]byte{ifx}, renamed.newEK(t), []string{"normalised-name"}},
		{"several", [][]byte{bundled("STM", Roots, root.cert)}, renamed.newEK(t, func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }),
			[]string{"no-ek-usage", "normalised-name", "vendor-mismatch"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := ParseAnchors(c.files...)
			if err != nil {
				t.Fatal(err)
			}
			r := a.ReportEK(c.leaf, EKOptions{At: ekTime})
			if r.Refused != nil {
				t.Fatal(r.Refused)
			}
			if diff := cmp.Diff(c.want, findingIDs(r)); diff != "" {
				t.Error(diff)
			}
			for _, f := range r.Findings {
				if err := checkText(f.Text); err != nil {
					t.Errorf("%q: %v", f.Text, err)
				}
			}
		})
	}
}

// TestSpecOfReasons: docs/spec/ek.md has every code, and no other.
func TestSpecOfReasons(t *testing.T) {
	doc, err := os.ReadFile("../docs/spec/ek.md")
	if err != nil {
		t.Fatal(err)
	}
	section := func(name string) []string {
		_, text, _ := strings.Cut(string(doc), "\n## "+name+"\n")
		text, _, _ = strings.Cut(text, "\n## ")
		var codes []string
		for _, row := range regexp.MustCompile("(?m)^\\| (`.*?`) \\|").FindAllStringSubmatch(text, -1) {
			for code := range strings.SplitSeq(row[1], ", ") {
				codes = append(codes, strings.Trim(code, "`"))
			}
		}
		slices.Sort(codes)
		return codes
	}
	var reasons []string
	for _, r := range []EKReason{
		IssuerMissing, NameMismatch, BadSignature, WeakSignature, WeakKey, UnparsableKey, Expired, NotYetValid,
		NotACA, ConstraintBroken, UnknownCriticalExtension, NotAnEK, Malformed, TooComplex, Revoked,
	} {
		reasons = append(reasons, string(r))
	}
	slices.Sort(reasons)
	findings := []string{findNoUsage, findNoAttributes, findKeyUsage, findUnknownVendor, findVendorMismatch, findNormalised}
	slices.Sort(findings)
	statuses := []string{string(NotChecked), string(NotRevoked), string(IsRevoked)}
	for name, want := range map[string][]string{"Reasons": reasons, "Findings": findings, "Revocation": statuses} {
		if diff := cmp.Diff(want, section(name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestReportOfURLs leaves out what a terminal would obey.
func TestReportOfURLs(t *testing.T) {
	root := newRoot(t, "Root")
	leaf := root.newEK(t, func(c *x509.Certificate) {
		c.IssuingCertificateURL = []string{"http://ca.example/1.crt", "http://ca.example/\x1b[2J"}
		c.CRLDistributionPoints = []string{"http://ca.example/1.crl"}
	})
	r := anchorsOf(t, root.cert).ReportEK(leaf, EKOptions{At: ekTime})
	if !slices.Equal(r.IssuerURLs, []string{"http://ca.example/1.crt"}) || !slices.Equal(r.CRLURLs, []string{"http://ca.example/1.crl"}) {
		t.Errorf("%q, %q", r.IssuerURLs, r.CRLURLs)
	}
}

// TestReportOfRefused has what the certificate says, if it is an EK's at all.
func TestReportOfRefused(t *testing.T) {
	root := newRoot(t, "Root")
	r := anchorsOf(t, newRoot(t, "Other").cert).ReportEK(root.newEK(t), EKOptions{At: ekTime})
	if r.Refused == nil || r.Refused.Reason != IssuerMissing || r.Chain.Vendor != "IFX" || r.Chain.Certificates != nil || r.Revocation != nil {
		t.Errorf("%+v", r)
	}
	r = anchorsOf(t, root.cert).ReportEK(root.cert, EKOptions{At: ekTime})
	if r.Refused == nil || r.Refused.Reason != NotAnEK || r.Chain != nil || r.Findings != nil {
		t.Errorf("%+v", r)
	}
	r = anchorsOf(t, root.cert).ReportEK(nil, EKOptions{At: ekTime})
	if r.Refused == nil || r.Refused.Reason != Malformed {
		t.Errorf("%+v", r)
	}
}

// TestReportAgreesWithVerify on everything that the other tests make.
func TestReportAgreesWithVerify(t *testing.T) {
	root := newRoot(t, "Root")
	ca := root.newCA(t, "CA")
	a := anchorsOf(t, root.cert)
	for _, leaf := range []*x509.Certificate{root.newEK(t), ca.newEK(t), ca.cert, newRoot(t, "Root").newEK(t), nil} {
		for _, helpers := range [][]*x509.Certificate{nil, {ca.cert}} {
			found, err := a.VerifyEK(leaf, helpers, ekTime)
			r := a.ReportEK(leaf, EKOptions{At: ekTime, Helpers: helpers})
			if (err == nil) != (r.Refused == nil) {
				t.Errorf("%v, and %v", err, r.Refused)
			}
			if err == nil && !slices.EqualFunc(found.Certificates, r.Chain.Certificates, (*x509.Certificate).Equal) {
				t.Error("another chain")
			}
		}
	}
}
