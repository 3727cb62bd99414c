package bundle

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// issue makes a CA certificate that issuer signed, with the subject as it is in
// the issuer's certificate unless the template says otherwise.
func issue(t *testing.T, c, issuer *x509.Certificate) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(nil, c, issuer, throwawayKey.Public(), throwawayKey)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestGraph(t *testing.T) {
	root := testCA(t, "IFX", 1)
	child := Certificate{"IFX", "child", issue(t, template(2, "child"), root.X509)}
	// The same name as UTF8String, and in capitals.
	renamed := *root.X509
	renamed.RawSubject = marshalName(t, asn1.TagUTF8String, "DE", "EXAMPLE, Inc.", "ifx  ca 1")
	odd := Certificate{"IFX", "odd", issue(t, template(3, "odd"), &renamed)}
	orphan := Certificate{"IFX", "orphan", issue(t, template(4, "orphan"), template(5, "nobody"))}

	g, err := NewGraph([]Certificate{child, root, odd, orphan})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]Link{{{1, false}}, nil, {{1, true}}, nil}
	for i, links := range want {
		if diff := cmp.Diff(links, g.Issuers(i)); diff != "" {
			t.Errorf("issuers of %d: %s", i, diff)
		}
		if self := g.SelfSigned(i); self != (i == 1) {
			t.Errorf("SelfSigned(%d) = %v", i, self)
		}
	}
}

// TestGraphBoundsWork: many CAs of one name are refused before a signature is checked,
// even if no certificate alone has too many issuers.
func TestGraphBoundsWork(t *testing.T) {
	var certs []Certificate
	for i := range limits.BundleChecks {
		certs = append(certs, Certificate{"IFX", fmt.Sprint(i), selfSigned(t, template(int64(i+1), "Same"))})
	}
	_, err := NewGraph(certs)
	wantError(t, err, `IFX "`, "too many certificates share their names")
	if _, err := NewGraph(certs[:30]); err != nil {
		t.Error(err)
	}
}

// marshalName encodes a name of country, organisation and common name.
func marshalName(t testing.TB, tag int, country, organisation, common string) []byte {
	t.Helper()
	type attribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	type rdnSET []attribute
	var name []rdnSET
	for i, v := range []string{country, organisation, common} {
		oid := asn1.ObjectIdentifier{2, 5, 4, []int{6, 10, 3}[i]}
		name = append(name, rdnSET{{oid, asn1.RawValue{Tag: tag, Bytes: []byte(v)}}})
	}
	der, err := asn1.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
