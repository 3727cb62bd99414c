package realtest

import (
	"crypto/x509"
	"encoding/asn1"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/bundle"
)

// TestReports: each of the vendors' CAs stands for an EK certificate, as in
// TestChains, under anchors of all bundles and of one vendor. What is odd about them
// is that some name their issuer in another encoding.
func TestReports(t *testing.T) {
	out := build(t, options(t))
	var bundles []*bundle.Bundle
	for _, f := range out.Files[:2] {
		b, err := bundle.Parse(f.Data)
		if err != nil {
			t.Fatal(err)
		}
		bundles = append(bundles, b)
	}
	all := bundle.Members(bundles...)
	at := time.Date(2026, 4, 11, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		vendors  []string
		accepted int
		renamed  int
	}{
		{[]string{"AMD", "IFX", "INTC", "MSFT", "NSG", "NTC", "STM"}, 143, 4},
		{[]string{"STM"}, 21, 4},
		{[]string{"AMD"}, 18, 0}, // with the CA of Microsoft under which some are
	} {
		some, err := bundle.OfVendors(all, c.vendors...)
		if err != nil {
			t.Fatal(err)
		}
		anchors, err := bundle.NewAnchors(some)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, ca := range bundles[1].Certificates() {
			leaf := *ca.X509
			leaf.IsCA, leaf.KeyUsage = false, x509.KeyUsageKeyAgreement
			leaf.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}
			r := anchors.ReportEK(&leaf, bundle.EKOptions{At: at})
			if r.Refused != nil {
				got[string(r.Refused.Reason)]++
				continue
			}
			got["accepted"]++
			for _, f := range r.Findings {
				if f.ID == "normalised-name" {
					got["renamed"]++
				}
			}
		}
		want := map[string]int{"accepted": c.accepted, "renamed": c.renamed, string(bundle.IssuerMissing): 143 - c.accepted}
		maps.DeleteFunc(want, func(_ string, n int) bool { return n == 0 })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: %s", c.vendors, diff)
		}
	}
}
