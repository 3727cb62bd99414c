package bundle

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// indexed are the bundles and the index of a small release.
func indexed(t testing.TB, f Format) ([]*Bundle, []byte) {
	t.Helper()
	root := newOwnKeyCA(t, 1, nil, nil)
	child := newOwnKeyCA(t, 2, root, func(c *x509.Certificate) {
		c.CRLDistributionPoints = []string{"http://pki.example/1.crl?a=1&b=2", "ldap://pki.example/CN=\x01"}
		c.IssuingCertificateURL = []string{"http://pki.example/1.crt"}
	})
	odd := *root
	copied := *root.X509
	copied.RawSubject = marshalName(t, asn1.TagUTF8String, "DE", "EXAMPLE, Inc.", "ca  1")
	odd.X509 = &copied
	bundles := newSetBundles(t, []*ownKeyCA{root}, []*ownKeyCA{child, newOwnKeyCA(t, 3, &odd, nil)})
	for i, b := range bundles {
		var err error
		if bundles[i], err = assemble(b.certs, header(b.header.Kind, f)); err != nil {
			t.Fatal(err)
		}
	}
	findings, err := VetBundles(VetOptions{At: time.Date(2026, 4, 11, 0, 0, 0, 0, time.UTC)}, bundles...)
	if err != nil {
		t.Fatal(err)
	}
	origins := map[string]Origin{digestText(root.X509): {URL: "https://pki.example/1.crt", Status: "current"}}
	x, err := NewIndex(bundles, origins, findings)
	if err != nil {
		t.Fatal(err)
	}
	data, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return bundles, data
}

// TestIndexVector keeps the file that the specification shows.
func TestIndexVector(t *testing.T) {
	bundles, data := indexed(t, Sealsmith)
	path := filepath.Join("testdata", IndexName)
	if *update {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, want) {
		t.Errorf("got\n%s\nwant\n%s", data, want)
	}
	spec, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "spec", "ca-bundle.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(spec, want) {
		t.Error("docs/spec/ca-bundle.md does not show testdata/index.json")
	}
	slices.Reverse(bundles)
	x, err := ParseIndex(want, bundles...)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.CheckParents(bundles...); err != nil {
		t.Error(err)
	}
}

// TestContentDigest: by hand, as the specification has it, and the same for all
// formats, dates and commits.
func TestContentDigest(t *testing.T) {
	bundles, _ := indexed(t, Sealsmith)
	var lines []string
	for _, m := range Members(bundles...) {
		lines = append(lines, fmt.Sprintf("%s %x\n", m.Kind, sha256.Sum256(m.X509.Raw)))
	}
	slices.Sort(lines)
	want := sha256.Sum256([]byte(strings.Join(lines, "")))
	other, _ := indexed(t, TPMTB)
	slices.Reverse(other)
	if ContentDigest(bundles...) != want || ContentDigest(other...) != want {
		t.Errorf("got %x and %x, want %x", ContentDigest(bundles...), ContentDigest(other...), want)
	}
	if ContentDigest(bundles[0]) == ContentDigest(bundles[1]) || ContentDigest(bundles...) == ContentDigest(bundles[0]) {
		t.Error("other certificates have the same digest")
	}
}

func TestParseIndexRefuses(t *testing.T) {
	bundles, good := indexed(t, Sealsmith)
	root, child := digestText(bundles[0].certs[0].X509), digestText(bundles[1].certs[0].X509)
	for _, c := range []struct{ name, old, new, want string }{
		{"not JSON", "{", "", "not JSON of an index"},
		{"more behind it", "\n}\n", "\n}\n{}", "something after"},
		{"unknown member", `"version": 1`, `"version": 1, "x": 1`, "not JSON of an index"},
		{"member twice", `"version": 1`, "\"version\": 1,\n  \"version\": 1", `line 3: is "  \"version\"`},
		{"capitals", `"version"`, `"Version"`, "line 2"},
		{"version", `"version": 1`, `"version": 2`, "version 2 of the index"},
		{"date", testDate, "2026-04-12", "line 3"},
		{"no commit", "  \"commit\": \"" + testCommit + "\",\n", "", "line 4"},
		{"content digest", `"content_sha256": "`, `"content_sha256": "0`, "line 5"},
		{"digest of a file", `"format": "sealsmith",` + "\n      \"sha256\": \"", `"format": "sealsmith",` + "\n      \"sha256\": \"0", "line 11"},
		{"number of certificates", `"certificates": 1`, `"certificates": 2`, "line 12"},
		{"certificate", root, child, `does not have IFX "CA 1"`},
		{"vendor", `"vendor": "IFX"`, `"vendor": "STM"`, `want "      \"vendor\": \"IFX\"`},
		{"name", `"name": "CA 1"`, `"name": "CA 9"`, `want "      \"name\": \"CA 1\"`},
		{"serial", `"serial": "1"`, `"serial": "01"`, "want"},
		{"validity", "2020-01-02T03:04:05Z", "2020-01-02T03:04:05+00:00", "want"},
		{"other escapes", "a=1&b=2", `a=1\u0026b=2`, "want"},
		{"other URL of a CRL", "a=1&b=2", `a=1&b=3`, "want"},
		{"indentation", "  \"date\"", "\t\"date\"", "line 3"},
		{"no final line feed", "\n}\n", "\n}", "no line feed at its end"},
		{"not https", "https://pki.example/1.crt", "http://pki.example/1.crt", `IFX "CA 1": url: "http://`},
		{"status", `"current"`, `"excellent"`, `status "excellent" is neither`},
		{"exception", `"status": "current"`, `"status": "current", "exceptions": ["A b"]`, `exception "A b" is of no rule`},
		{"exceptions", `"status": "current"`, `"status": "current", "exceptions": ["b", "a"]`, "the exceptions are not sorted"},
		{"rule", `"name-mismatch"`, `"Name mismatch"`, `finding "Name mismatch"`},
		{"severity", `"warning"`, `"terrible"`, `severity "terrible"`},
		{"text", "names its issuer", `names\u001b its issuer`, "finding name-mismatch: the unprintable character U+001B"},
		{"parent of itself", `"parents": [` + "\n        \"" + root, `"parents": [` + "\n        \"" + child, "did not issue it"},
		{"root's parent is itself", `"status": "current"`, `"status": "current", "parents": ["` + root + `"]`, "did not issue it"},
		{"unknown parent", `"parents": [` + "\n        \"" + root, `"parents": [` + "\n        \"" + strings.Repeat("0", 64), "did not issue it"},
		{"parent twice", `"parents": [` + "\n        \"" + root, `"parents": [` + "\n        \"" + root + "\",\n        \"" + root, "the parents are not sorted"},
		{"no parents", `"parents": [` + "\n        \"" + root + "\"\n      ]", `"parents": []`, "want"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := strings.Replace(string(good), c.old, c.new, 1)
			if bad == string(good) {
				t.Fatalf("the index has no %q", c.old)
			}
			_, err := ParseIndex([]byte(bad), bundles...)
			wantError(t, err, c.want)
		})
	}
	_, err := ParseIndex(good, bundles[0])
	wantError(t, err, "want")
	_, err = ParseIndex(good, bundles[0], bundles[0])
	wantError(t, err, "two bundles of roots")
	_, err = ParseIndex(good)
	wantError(t, err, "at least one bundle")
	_, err = ParseIndex(make([]byte, 33<<20), bundles...)
	wantError(t, err, "more than 33554432 bytes")
	other, err := assemble(bundles[1].certs, Header{Intermediates, Sealsmith, "2026-04-12", ""})
	if err != nil {
		t.Fatal(err)
	}
	_, err = ParseIndex(good, bundles[0], other)
	wantError(t, err, "the roots are of 2026-04-11 in format sealsmith from commit "+testCommit+", the intermediates of 2026-04-12 in format sealsmith: not the bundles of one release")
}

// TestCheckParents: a parent by its name alone passes for one until the signature
// is looked at.
func TestCheckParents(t *testing.T) {
	root := newOwnKeyCA(t, 1, nil, nil)
	impostor := newOwnKeyCA(t, 2, nil, func(c *x509.Certificate) { c.Subject, c.SubjectKeyId = root.X509.Subject, root.X509.SubjectKeyId })
	bundles := newSetBundles(t, []*ownKeyCA{root, impostor}, []*ownKeyCA{newOwnKeyCA(t, 3, root, nil)})
	x, err := NewIndex(bundles, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.CheckParents(bundles...); err != nil {
		t.Error(err)
	}
	data, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	parents := "\"parents\": [\n        \""
	data = bytes.Replace(data, []byte(parents+digestText(root.X509)), []byte(parents+digestText(impostor.X509)), 1)
	x, err = ParseIndex(data, bundles...)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, x.CheckParents(bundles...), `IFX "CA 3": the parents in the index are`)
}

// TestIndexIsReadBack: what is encoded is read, and is what it was.
func TestIndexIsReadBack(t *testing.T) {
	root := newOwnKeyCA(t, 1, nil, nil)
	all := []*ownKeyCA{}
	for n := range int64(6) {
		all = append(all, newOwnKeyCA(t, n+2, root, nil))
	}
	names := rapid.StringMatching(`[!-~äß€]([ -~äß€]{0,40}[!-~äß€])?`).Filter(func(s string) bool { return checkText(s) == nil })
	rapid.Check(t, func(t *rapid.T) {
		some := slices.Clone(rapid.Permutation(all).Draw(t, "order")[:rapid.IntRange(1, len(all)).Draw(t, "n")])
		var certs []Certificate
		var findings []Finding
		origins := map[string]Origin{}
		for _, ca := range some {
			c := ca.Certificate
			c.Name = names.Draw(t, "name")
			certs = append(certs, c)
			origins[digestText(c.X509)] = Origin{
				URL:        rapid.SampledFrom([]string{"", "https://a.example/%20?x=1&y=<"}).Draw(t, "url"),
				Status:     rapid.SampledFrom([]Status{"", Historic}).Draw(t, "status"),
				Exceptions: rapid.SampledFrom([][]string{nil, {"key-id", "serial"}}).Draw(t, "exceptions"),
			}
			if rapid.Bool().Draw(t, "finding") {
				findings = append(findings, Finding{Rule: "a-rule", Severity: Info, Text: "is " + c.Name, SHA256: digestText(c.X509)})
			}
		}
		f := rapid.SampledFrom([]Format{Sealsmith, TPMTB}).Draw(t, "format")
		roots, err := assemble([]Certificate{root.Certificate}, header(Roots, f))
		if err != nil {
			t.Fatal(err)
		}
		others, err := assemble(certs, header(Intermediates, f))
		if err != nil {
			t.Fatal(err)
		}
		x, err := NewIndex([]*Bundle{roots, others}, origins, findings)
		if err != nil {
			t.Fatal(err)
		}
		data, err := x.Encode()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseIndex(data, others, roots)
		if err != nil {
			t.Fatalf("%v in\n%s", err, data)
		}
		if again, err := parsed.Encode(); err != nil || !bytes.Equal(again, data) || parsed.CheckParents(others, roots) != nil {
			t.Fatalf("read as\n%s\nnot\n%s", again, data)
		}
	})
}

// FuzzIndex: what is accepted has one encoding, which is the input, and says of the
// bundles what they are.
func FuzzIndex(f *testing.F) {
	bundles, good := indexed(f, Sealsmith)
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("https://pki.example/1.crt"), []byte("https://pki.example/2.crt"), 1))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := ParseIndex(data, bundles...)
		if err != nil {
			return
		}
		if again, err := x.Encode(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q is read as %q (%v)", data, again, err)
		}
		if x.ContentSHA256 != fmt.Sprintf("%x", ContentDigest(bundles...)) || len(x.Certificates) != 3 {
			t.Errorf("%q is accepted", data)
		}
	})
}
