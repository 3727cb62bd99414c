package bundle

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestExceptionRules: each is a rule, and none is of what forbids a bundle.
func TestExceptionRules(t *testing.T) {
	spec, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "spec", "catalog.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ExceptionRules() {
		if !slices.ContainsFunc(Rules(), func(r Rule) bool { return r.ID == id }) {
			t.Errorf("%q is no rule", id)
		}
		if !strings.Contains(string(spec), "`"+id+"`") {
			t.Errorf("docs/spec/catalog.md does not name %q", id)
		}
		if err := CheckException(id); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{
		"version", "not-a-ca", "key-usage", "weak-key", "weak-signature", "critical-extension", "unprintable",
		"duplicate", "self-signed-intermediate", "path-length", "validity", "sha1-pin",
	} {
		wantError(t, CheckException(id), `no exception from rule "`+id+`" can be declared`)
	}
	wantError(t, CheckException("not-selfsigned"), `exception "not-selfsigned" is no rule; a catalog may declare `)
}

func TestDeclaredExceptions(t *testing.T) {
	away := newOwnKeyCA(t, 1, nil, nil)
	anchor := newOwnKeyCA(t, 2, away, nil)
	child := newOwnKeyCA(t, 3, anchor, nil)
	release := func(t *testing.T, format Format, anchorRules, childRules []string) *Output {
		t.Helper()
		roots, intermediates := entry(anchor.Certificate, "https://pki.example/2"), entry(child.Certificate, "https://pki.example/3")
		roots.Exceptions, intermediates.Exceptions, intermediates.Line = anchorRules, childRules, 7
		out, err := Release(t.Context(), Options{
			Format: format, Date: testDate, Commit: testCommit,
			Fetcher:  &Fetcher{Store: newStore(t, anchor.Certificate, child.Certificate), Offline: true},
			Catalogs: map[Kind]*Catalog{Roots: {[]Entry{roots}}, Intermediates: {[]Entry{intermediates}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, f := range []Format{Sealsmith, TPMTB} {
		plain := release(t, f, nil, nil)
		if len(plain.Findings) != 1 || plain.Findings[0].Severity != Warning {
			t.Fatalf("%v", plain.Findings)
		}
		declared := release(t, f, []string{"not-self-signed"}, nil)
		const text = `is a root that is not self-signed, and its issuer is not in the set: some verifiers want to be told that it is an anchor`
		if len(declared.Findings) != 1 || declared.Findings[0].String() != `info: IFX "CA 2": declared: `+text+` [not-self-signed]` {
			t.Errorf("%v", declared.Findings)
		}
		for i, file := range declared.Files[:2] {
			if string(file.Data) != string(plain.Files[i].Data) {
				t.Errorf("%s: an exception changes the bytes of a bundle", file.Name)
			}
		}
		var x Index
		if err := json.Unmarshal(declared.Files[2].Data, &x); err != nil {
			t.Fatal(err)
		}
		c := x.Certificates[0]
		if !slices.Equal(c.Exceptions, []string{"not-self-signed"}) || len(c.Findings) != 1 || c.Findings[0] != (IndexFinding{"not-self-signed", Info, "declared: " + text}) {
			t.Errorf("the index has %+v", c)
		}
	}
	idle := release(t, Sealsmith, []string{"not-self-signed", "reused-serial", "key-id"}, []string{"no-chain"})
	again := release(t, Sealsmith, []string{"key-id", "not-self-signed", "reused-serial"}, []string{"no-chain"})
	if !cmp.Equal(idle.Files, again.Files) {
		t.Error("the order of exceptions matters")
	}
	var got []string
	for _, finding := range idle.Findings[:3] {
		got = append(got, finding.String())
	}
	want := []string{
		`warning: IFX "CA 2": declares an exception from key-id, which has nothing against it [exception]`,
		`warning: IFX "CA 2": declares an exception from reused-serial, which has nothing against it [exception]`,
		`warning: IFX "CA 3": declares an exception from no-chain, which has nothing against it [exception] (line 7 of the catalog)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

// TestExceptionsAloneSayNothing: one bundle does not show which exceptions are needed.
func TestExceptionsAloneSayNothing(t *testing.T) {
	root := newOwnKeyCA(t, 1, nil, nil)
	child := newOwnKeyCA(t, 2, root, nil)
	e := entry(child.Certificate, "https://pki.example/2")
	e.Exceptions = []string{"no-chain"}
	out, err := Single(context.Background(), Intermediates, Options{
		Date: testDate, Fetcher: &Fetcher{Store: newStore(t, child.Certificate), Offline: true},
		Catalogs: map[Kind]*Catalog{Intermediates: {[]Entry{e}}},
	})
	if err != nil || len(out.Findings) != 0 {
		t.Errorf("%v, %v", out, err)
	}
}

// TestExceptionsForgiveNoError: what makes a bundle unsafe cannot be declared away,
// whatever an index says.
func TestExceptionsForgiveNoError(t *testing.T) {
	leaf := newOwnKeyCA(t, 1, nil, func(c *x509.Certificate) { c.IsCA = false })
	old := newOwnKeyCA(t, 2, nil, nil)
	bundles := newSetBundles(t, []*ownKeyCA{leaf, old}, nil)
	o := VetOptions{At: old.X509.NotBefore.AddDate(-1, 0, 0), Exceptions: map[string][]string{}}
	for _, c := range []*ownKeyCA{leaf, old} {
		o.Exceptions[digestText(c.X509)] = []string{"not-a-ca", "key-usage", "validity"}
	}
	findings, err := VetBundles(o, bundles...)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Severity == Info || strings.Contains(f.Text, "declared") {
			t.Error(f)
		}
	}
	if len(findings) < 3 {
		t.Errorf("%v", findings)
	}
}

// TestCatalogOfExceptions reads them with their lines.
func TestCatalogOfExceptions(t *testing.T) {
	with := func(list string) []byte {
		return []byte(pins(strings.Replace(sample, "          notes:", "          exceptions:"+list+"\n          notes:", 1)))
	}
	c, err := ParseCatalog(with("\n            - \"reused-serial\"\n            - key-id"))
	if err != nil || !slices.Equal(c.Entries[1].Exceptions, []string{"reused-serial", "key-id"}) {
		t.Errorf("%v, %v", c, err)
	}
	for _, c := range []struct{ name, list, want string }{
		{"unknown", ` ["key-id", "keyid"]`, `line 20: exception "keyid" is no rule; a catalog may declare serial, key-id, `},
		{"of what a bundle needs", "\n            - key-id\n            - not-a-ca", `line 22: no exception from rule "not-a-ca" can be declared`},
		{"empty", ` [""]`, `line 20: exception "" is no rule`},
		{"twice", "\n            - key-id\n            - key-id", `line 22: exception "key-id" is here twice`},
		{"no list", ` "key-id"`, `line 20: "key-id" must be a list`},
	} {
		_, err := ParseCatalog(with(c.list))
		wantError(t, err, c.want)
	}
}
