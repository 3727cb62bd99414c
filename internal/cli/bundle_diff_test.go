package cli

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/bundle"
)

func TestCodeSpan(t *testing.T) {
	for text, want := range map[string]string{
		"Plain *CA* <b> @all #1 www.example.org": "`Plain *CA* <b> @all #1 www.example.org`",
		"one ` only":                             "`` one ` only ``",
		"``two``":                                "``` ``two`` ```",
		"`one` ``two`` `one`":                    "``` `one` ``two`` `one` ```",
		"`":                                      "`` ` ``",
	} {
		if got := codeSpan(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// diffCA is a member that is valid until a day.
func diffCA(t *testing.T, name string, serial int64, until string) *bundle.Member {
	t.Helper()
	end, err := time.Parse(time.DateOnly, until)
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotAfter: end,
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(nil, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &bundle.Member{Kind: bundle.Roots, Certificate: bundle.Certificate{Vendor: "IBM", Name: name, X509: made}}
}

func TestChangeDetails(t *testing.T) {
	old, again := diffCA(t, "CA", 0x1d, "2030-12-31"), diffCA(t, "CA", 0xab, "2040-12-31")
	sold := *old
	sold.Kind, sold.Vendor, sold.Name = bundle.Intermediates, "STM", "A CA"
	later, other := diffCA(t, "CA", 0x1d, "2030-12-31"), diffCA(t, "CA", 0x1d, "2030-12-31")
	later.X509.NotAfter = later.X509.NotAfter.Add(time.Hour)
	other.X509.RawIssuer = diffCA(t, "Another CA", 1, "2030-12-31").X509.RawSubject
	for want, c := range map[string]bundle.Change{
		"Ed25519, until 2030-12-31":                          {Type: bundle.Added, New: old},
		"Ed25519, until 2040-12-31":                          {Type: bundle.Removed, Old: again},
		"serial 1d -> ab, until 2030-12-31 -> 2040-12-31":    {Type: bundle.Reissued, Old: old, New: again},
		"until 2030-12-31T00:00:00Z -> 2030-12-31T01:00:00Z": {Type: bundle.Reissued, Old: old, New: later},
		"issued by CN=CA -> CN=Another CA":                   {Type: bundle.Reissued, Old: old, New: other},
		"other extensions basicConstraints keyUsage": {
			Type: bundle.Reissued, Old: old, New: old, Extensions: []string{"basicConstraints", "keyUsage"},
		},
		"Ed25519, until 2030-12-31, same key as CA":                    {Type: bundle.Added, New: old, SameKey: again},
		"Ed25519, until 2030-12-31, same key as STM intermediate A CA": {Type: bundle.Removed, Old: old, SameKey: &sold},
		"was intermediate, was STM, was A CA":                          {Type: bundle.Moved, Old: &sold, New: old},
	} {
		details, err := changeDetails(c, false, strings.TrimSpace)
		if diff := cmp.Diff(want, strings.Join(details, ", ")); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
}

// TestDiffMarkdown: both digests of a certificate with other bytes, one of a
// certificate with the same.
func TestDiffMarkdown(t *testing.T) {
	old, again := diffCA(t, "CA", 1, "2030-12-31"), diffCA(t, "CA", 1, "2040-12-31")
	renamed := *old
	renamed.Name = "Another"
	got, err := (&bundleDiff{changes: []bundle.Change{
		{Type: bundle.Reissued, Old: old, New: again},
		{Type: bundle.Renamed, Old: old, New: &renamed},
	}}).markdown()
	if err != nil {
		t.Fatal(err)
	}
	a, b := digestOf(t, old), digestOf(t, again)
	want := "## TPM CA certificates of \n\nSince : 1 re-issued, 1 renamed, 0 unchanged.\n" +
		"\n### Re-issued\n\n- IBM, root `CA`: until `2030-12-31` -> `2040-12-31`, SHA-256 `" + a + "` -> `" + b + "`\n" +
		"\n### Renamed\n\n- IBM, root `Another`: was `CA`, SHA-256 `" + a + "`\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func digestOf(t *testing.T, m *bundle.Member) string {
	t.Helper()
	s, err := bundle.Summarise(m.X509)
	if err != nil {
		t.Fatal(err)
	}
	return s.SHA256
}
