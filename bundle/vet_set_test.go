package bundle

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// ownKeyCA is a CA with a key of its own.
type ownKeyCA struct {
	Certificate
	key ed25519.PrivateKey
}

// newOwnKeyCA makes CA number n, signed by issuer or, if that is nil, by itself.
func newOwnKeyCA(t testing.TB, n int64, issuer *ownKeyCA, change func(*x509.Certificate)) *ownKeyCA {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = byte(n)
	a := &ownKeyCA{key: ed25519.NewKeyFromSeed(seed)}
	name := fmt.Sprintf("CA %d", n)
	c := template(n, name)
	if change != nil {
		change(c)
	}
	parent, signer := c, a.key
	if issuer != nil {
		parent, signer = issuer.X509, issuer.key
	}
	der, err := x509.CreateCertificate(nil, c, parent, a.key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.Certificate = Certificate{"IFX", name, made}
	return a
}

// pathLen limits the CAs below one.
func pathLen(n int) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, n == 0 }
}

// newSetBundles are bundles of what was made, without the judgement of Build.
func newSetBundles(t testing.TB, roots, intermediates []*ownKeyCA) []*Bundle {
	t.Helper()
	var all []*Bundle
	for i, list := range [][]*ownKeyCA{roots, intermediates} {
		if len(list) == 0 {
			continue
		}
		certs := make([]Certificate, len(list))
		for k, a := range list {
			certs[k] = a.Certificate
		}
		b, err := assemble(certs, header(Kinds()[i], Sealsmith))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func TestVetBundles(t *testing.T) {
	root := newOwnKeyCA(t, 1, nil, nil)
	child := newOwnKeyCA(t, 2, root, nil)
	narrow := newOwnKeyCA(t, 3, root, pathLen(0))
	grandchild := newOwnKeyCA(t, 4, narrow, nil)
	deep := newOwnKeyCA(t, 5, grandchild, nil)
	unknown := newOwnKeyCA(t, 6, nil, nil)
	orphan := newOwnKeyCA(t, 7, unknown, nil)
	oneBelow := newOwnKeyCA(t, 8, nil, pathLen(1))
	first := newOwnKeyCA(t, 9, oneBelow, nil)
	second := newOwnKeyCA(t, 10, first, nil)
	renamed := *root
	copied := *root.X509
	copied.RawSubject = marshalName(t, asn1.TagUTF8String, "DE", "EXAMPLE, Inc.", "ca  1")
	renamed.X509 = &copied
	odd := newOwnKeyCA(t, 11, &renamed, nil)
	sameSerial := newOwnKeyCA(t, 12, root, func(c *x509.Certificate) { c.SerialNumber.SetInt64(2) })
	sameSerial3 := newOwnKeyCA(t, 13, root, func(c *x509.Certificate) { c.SerialNumber.SetInt64(2) })
	sameKey := newOwnKeyCA(t, 2, root, func(c *x509.Certificate) { c.SerialNumber.SetInt64(99) })
	sameKey.Name = "CA 2 again"
	selfIssued := newOwnKeyCA(t, 14, narrow, func(c *x509.Certificate) { c.Subject = narrow.X509.Subject })
	again := newOwnKeyCA(t, 1, nil, func(c *x509.Certificate) { c.Subject.CommonName = "ca  1"; c.SerialNumber.SetInt64(98) })
	short := newOwnKeyCA(t, 15, nil, func(c *x509.Certificate) { c.NotAfter = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC) })

	for _, c := range []struct {
		name                 string
		roots, intermediates []*ownKeyCA
		want                 []string
	}{
		{"a chain of two", []*ownKeyCA{root}, []*ownKeyCA{child}, nil},
		{"no root to chain to", nil, []*ownKeyCA{child, orphan}, nil},
		{"roots alone", []*ownKeyCA{root, unknown}, nil, nil},
		{"root that is not self-signed", []*ownKeyCA{orphan}, nil, []string{
			`warning: IFX "CA 7": is a root that is not self-signed, and its issuer is not in the set: some verifiers want to be told that it is an anchor [not-self-signed]`}},
		{"its issuer is there", []*ownKeyCA{orphan, unknown}, nil, []string{
			`info: IFX "CA 7": is a root that is not self-signed but issued by IFX "CA 6" [not-self-signed]`}},
		{"self-signed intermediate", []*ownKeyCA{root}, []*ownKeyCA{unknown}, []string{
			`error: IFX "CA 6": is an intermediate that is self-signed [self-signed-intermediate]`}},
		{"orphan", []*ownKeyCA{root}, []*ownKeyCA{child, orphan}, []string{
			`warning: IFX "CA 7": does not chain to a root of the set [no-chain]`}},
		{"no CA may follow", []*ownKeyCA{root}, []*ownKeyCA{narrow, grandchild, deep}, []string{
			`error: IFX "CA 4": may not issue anything: it has no chain that the path lengths of its issuers allow [path-length]`,
			`error: IFX "CA 5": may not issue anything: it has no chain that the path lengths of its issuers allow [path-length]`}},
		{"one CA may follow", []*ownKeyCA{oneBelow}, []*ownKeyCA{first, second}, []string{
			`error: IFX "CA 10": may not issue anything: it has no chain that the path lengths of its issuers allow [path-length]`}},
		{"self-issued ones do not count", []*ownKeyCA{root}, []*ownKeyCA{narrow, selfIssued}, nil},
		{"name in another encoding", []*ownKeyCA{root}, []*ownKeyCA{odd}, []string{
			`warning: IFX "CA 11": names its issuer IFX "CA 1" in another encoding: verifiers that compare bytes find no chain [name-mismatch]`}},
		{"self-signed anew under its name in another encoding", []*ownKeyCA{root, again}, nil, []string{
			`info: IFX "CA 1": has the same key as IFX "CA 1" [reused-key]`,
			`info: IFX "CA 1": has the same key as IFX "CA 1" [reused-key]`}},
		{"serial", []*ownKeyCA{root}, []*ownKeyCA{child, sameSerial}, []string{
			`warning: IFX "CA 12": has the same issuer and serial number as IFX "CA 2" [reused-serial]`,
			`warning: IFX "CA 2": has the same issuer and serial number as IFX "CA 12" [reused-serial]`}},
		{"serial of three", []*ownKeyCA{root}, []*ownKeyCA{child, sameSerial, sameSerial3}, []string{
			`warning: IFX "CA 12": has the same issuer and serial number as IFX "CA 13" and 1 more [reused-serial]`,
			`warning: IFX "CA 13": has the same issuer and serial number as IFX "CA 12" and 1 more [reused-serial]`,
			`warning: IFX "CA 2": has the same issuer and serial number as IFX "CA 12" and 1 more [reused-serial]`}},
		{"key", []*ownKeyCA{root}, []*ownKeyCA{child, sameKey}, []string{
			`info: IFX "CA 2": has the same key as IFX "CA 2 again" [reused-key]`,
			`info: IFX "CA 2 again": has the same key as IFX "CA 2" [reused-key]`}},
		{"soon", []*ownKeyCA{short}, nil, []string{
			`warning: IFX "CA 15": expires on 2026-06-01 [expires-soon]`}},
		{"in both bundles", []*ownKeyCA{root}, []*ownKeyCA{root, child}, []string{
			`error: IFX "CA 1": is the same certificate as IFX "CA 1" [duplicate]`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := VetOptions{At: time.Date(2026, 4, 11, 0, 0, 0, 0, time.UTC), Soon: 90 * 24 * time.Hour}
			findings, err := VetBundles(o, newSetBundles(t, c.roots, c.intermediates)...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range findings {
				if f.Kind == "" || len(f.SHA256) != 64 {
					t.Errorf("%v has no kind or digest", f)
				}
				got = append(got, f.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSoonIsAnInterval: neither what has expired nor what lasts longer.
func TestSoonIsAnInterval(t *testing.T) {
	end := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	short := newOwnKeyCA(t, 1, nil, func(c *x509.Certificate) { c.NotAfter = end })
	const soon = 10 * 24 * time.Hour
	for _, c := range []struct {
		before time.Duration
		want   string
	}{{soon, ""}, {soon - time.Second, "expires-soon"}, {0, "expires-soon"}, {-time.Second, "validity"}} {
		findings, err := VetBundles(VetOptions{At: end.Add(-c.before), Soon: soon}, newSetBundles(t, []*ownKeyCA{short}, nil)...)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for _, f := range findings {
			got += f.Rule
		}
		if got != c.want {
			t.Errorf("%v before the end: %q, want %q", c.before, got, c.want)
		}
	}
}

// TestRulesAreDocumented, each once and in order.
func TestRulesAreDocumented(t *testing.T) {
	var table strings.Builder
	for _, r := range Rules() {
		fmt.Fprintf(&table, "| `%s` | %s |\n", r.ID, r.About)
	}
	spec, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "spec", "ca-bundle.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(spec), table.String()) {
		t.Errorf("docs/spec/ca-bundle.md has not this table:\n%s", table.String())
	}
}
