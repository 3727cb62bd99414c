package bundle

import (
	"crypto"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample is the beginning of a catalog; tests replace parts of it.
const sample = `---
version: "alpha"
vendors:
    - id: "IFX"
      name: "Infineon"
      certificates:
        - name: "CA one"
          description: "the first"
          url: "https://pki.example/one.crt"
          validation:
            fingerprint:
                sha1: "SHA1_A"
                sha256: "SHA256_A"
        - name: "CA two"
          url: "https://pki.example/two.crt"
          status: "historic"
          evidence:
            - "https://pki.example/list.pdf#page=2"
            - "https://other.example/"
          notes: "given up in 2020"
          validation:
            fingerprint:
                sha512: "SHA512_B"
    - id: "STM"
      name: "STMicroelectronics"
      certificates:
        - name: "CA one"
          url: "https://other.example:8443/one%20more.crt?a=b"
          validation:
            fingerprint:
                sha1: "SHA1_C"
    - id: "AMD"
      name: "AMD"
      certificates: []
`

// pins puts fingerprints into a catalog: SHA256_A is that of the text "A".
func pins(catalog string) string {
	for name, h := range map[string]crypto.Hash{
		"SHA1_": crypto.SHA1, "SHA256_": crypto.SHA256, "SHA384_": crypto.SHA384, "SHA512_": crypto.SHA512,
	} {
		for _, what := range []string{"A", "B", "C"} {
			catalog = strings.ReplaceAll(catalog, `"`+name+what+`"`, `"`+fingerprint(h, []byte(what)).String()+`"`)
		}
	}
	return catalog
}

func TestParseCatalog(t *testing.T) {
	got, err := ParseCatalog([]byte(pins(sample)))
	if err != nil {
		t.Fatal(err)
	}
	fp := func(h crypto.Hash, s string) Fingerprint { return fingerprint(h, []byte(s)) }
	want := &Catalog{[]Entry{
		{Vendor: "IFX", Name: "CA one", Description: "the first", URL: "https://pki.example/one.crt", Status: Current,
			Fingerprints: []Fingerprint{fp(crypto.SHA1, "A"), fp(crypto.SHA256, "A")}, Line: 7},
		{Vendor: "IFX", Name: "CA two", URL: "https://pki.example/two.crt", Status: Historic,
			Evidence: []string{"https://pki.example/list.pdf#page=2", "https://other.example/"},
			Notes:    "given up in 2020", Fingerprints: []Fingerprint{fp(crypto.SHA512, "B")}, Line: 14},
		{Vendor: "STM", Name: "CA one", URL: "https://other.example:8443/one%20more.crt?a=b", Status: Current,
			Fingerprints: []Fingerprint{fp(crypto.SHA1, "C")}, Line: 27},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, sha1Only := range []bool{false, false, true} {
		if got.Entries[i].SHA1Only() != sha1Only {
			t.Errorf("entry %d: SHA1Only is %v", i, !sha1Only)
		}
	}
	crlf := strings.ReplaceAll(pins(sample), "\n", "\r\n")
	if again, err := ParseCatalog([]byte(crlf)); err != nil || !cmp.Equal(got, again) {
		t.Errorf("with CRLF: %v", err)
	}
}

func TestParseCatalogRefuses(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"empty", sample, "", "line 1: the catalog is empty"},
		{"empty but for a comment", sample, "---\n# nothing\n", "no value"},
		{"not YAML", sample, "{", "line 1: did not find expected node content"},
		{"PNG", sample, "\x89PNG\r\n", "line 1: not UTF-8"},
		{"malformed", `name: "Infineon"`, `name: "Infineon`, "line 8: mapping values are not allowed in this context"},
		{"bracket without end", "certificates: []", "certificates: [", "line 34: did not find expected node content"},
		{"tab", "\n          url: \"https://pki.example/one", "\n\t  url: \"https://pki.example/one", "line 9: a tab in the indentation"},
		{"too far to the left", "          url: \"https://pki.example/one", " url: \"https://pki.example/one", "line 9: did not find expected key"},
		{"nesting of 200,000", sample, strings.Repeat("[", 200_000), "line 1: exceeded max depth of 10000"},
		{"nested maps", sample, strings.Repeat("{a: ", 200_000), "line 1: exceeded max depth of 10000"},
		{"alias bomb", sample, "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nversion: \"alpha\"\n", "line 1: "},
		{"anchor", `id: "STM"`, `id: &x "STM"`, "line 24: anchors and aliases are not allowed"},
		{"tag", `id: "STM"`, `id: !!str "STM"`, `line 24: tag "!!str" is not allowed`},
		{"merge", `id: "STM"`, `<<: {id: "STM"}`, "line 24: merge keys are not allowed"},
		{"number for text", `id: "STM"`, `id: 5`, `line 24: "5" must be text`},
		{"control character", `name: "CA two"`, "name: \"CA\x07two\"", "line 14: unprintable character U+0007"},
		{"bidi in a comment", `id: "STM"`, "id: \"STM\" # \u202e", "line 24: unprintable character U+202E"},
		{"byte order mark", "---\nversion", "\ufeff---\nversion", "line 1: unprintable character U+FEFF"},
		{"without version", "version: \"alpha\"\n", "", "line 2: the catalog names no version"},
		{"url of another version", `"alpha"`, `"beta"`, `line 9: key "url" is of another version of the format; this one has "uri"`},
		{"uri", "url: \"https://pki.example/one", "uri: \"https://pki.example/one", `line 9: key "uri" is of another version of the format; this one has "url"`},
		{"list for a map", `          validation:
            fingerprint:
                sha512: "SHA512_B"`, "          validation: []", "line 21: a list stands where there must be a map"},
		{"HTML", sample, "<html>", "line 1"},
		{"version", `"alpha"`, `"999"`, `line 2: version is "999"`},
		{"no vendors", sample, "version: \"alpha\"\nvendors: []\n", "line 2: the catalog lists no certificate"},
		{"no certificates", sample, "version: \"alpha\"\nvendors:\n- id: \"IFX\"\n  name: \"Infineon\"\n", "no certificate"},
		{"unknown key", "sha256:", "sha265:", `line 13: unknown key "sha265"; did you mean "sha256"?`},
		{"repeated key", "description:", "name:", "line 8"},
		{"second document", "    - id: \"AMD\"", "---\n    - id: \"AMD\"", "line 32: a second document begins here"},
		{"alias", `"CA two"`, "*a", "unknown anchor"},
		{"vendor unknown", `"STM"`, `"EVIL"`, `line 24: vendor id "EVIL" is not in the TCG registry`},
		{"vendor missing", `id: "STM"`, `id: ""`, `line 24: vendor id "" is not`},
		{"vendor twice", `"STM"`, `"IFX"`, "line 24: vendor IFX is already in line 4"},
		{"vendor without name", `"Infineon"`, `""`, "line 5: name of vendor \"IFX\": empty"},
		{"name missing", `name: "CA one"`, `description: "CA one"`, "line 8"},
		{"name with a line feed", `"CA one"`, `"CA\n-----BEGIN"`, "U+000A"},
		{"name with bidi", `"CA one"`, `"CA\u202eone"`, "U+202E"},
		{"name with PEM", `"CA one"`, `"-----BEGIN CERTIFICATE-----"`, "line 7: name of a certificate of IFX: five dashes"},
		{"name with space", `"CA one"`, `"CA one "`, "line 7: name of a certificate of IFX: space at an end"},
		{"name too long", `"CA one"`, `"` + strings.Repeat("x", 501) + `"`, "longer than 500 bytes"},
		{"name twice", `"CA two"`, `"CA one"`, `line 14: IFX certificate "CA one" is already in line 7`},
		{"http", "https://pki.example/one", "http://pki.example/one", "line 9: url of \"CA one\": \"http://pki.example/one.crt\" is not https"},
		{"file", "https://pki.example/one", "file:///etc/passwd", "is not https"},
		{"no url", `url: "https://pki.example/two.crt"`, `url: ""`, "line 15"},
		{"port of https", "https://pki.example/one", "https://pki.example:443/one", `line 9: url of "CA one": "https://pki.example:443/one.crt" is not in normal form; want "https://pki.example/one.crt"`},
		{"empty port", "https://pki.example/one", "https://pki.example:/one", `is not in normal form; want "https://pki.example/one.crt"`},
		{"credentials", "https://pki.example/one", "https://me:secret@pki.example/one", `line 9: url of "CA one": credentials in a URL`},
		{"status", `"historic"`, `"old"`, `line 16: status "old" is neither "current" nor "historic"`},
		{"status empty", `"historic"`, `""`, `line 16: status "" is neither`},
		{"evidence by http", `"https://other.example/"`, `"http://other.example/"`, `line 19: evidence: "http://other.example/" is not https`},
		{"evidence twice", `"https://other.example/"`, `"https://pki.example/list.pdf#page=2"`, "line 19: evidence \"https://pki.example/list.pdf#page=2\" is here twice"},
		{"evidence without list", "\n            - \"https://pki.example/list.pdf#page=2\"\n            - \"https://other.example/\"", " \"https://other.example/\"", "line 17: \"https://other.example/\" must be a list"},
		{"much evidence", "- \"https://other.example/\"\n", strings.Repeat("- \"https://other.example/\"\n            ", 16) + "\n", "line 18: 17 links; want at most 16"},
		{"long notes", "given up in 2020", strings.Repeat("x", 2001), "line 20: notes is longer than 2000 bytes"},
		{"empty notes", "given up in 2020", "", "line 20: notes is empty"},
		{"notes with a line feed", "given up in 2020", "given\\nup", "line 20: text has the unprintable character U+000A"},
		{"no host", "https://pki.example/one", "https:///one", "has no lower-case host"},
		{"host in capitals", "https://pki.example/one", "https://PKI.example/one", "has no lower-case host"},
		{"url with a space", "/one.crt", "/one more.crt", "not in normal form"},
		{"url with a fragment", "/one.crt", "/one.crt#x", "has a fragment"},
		{"url twice", "https://other.example:8443/one%20more.crt?a=b", "https://pki.example/two.crt", "line 28: url https://pki.example/two.crt is already in line 15"},
		{"no fingerprint", `sha512: "SHA512_B"`, "{}", `line 14: certificate "CA two" has no fingerprint`},
		{"fingerprint empty", `"SHA512_B"`, `""`, "line 23: SHA-512 fingerprint \"\" is not 64 upper-case pairs"},
		{"fingerprint short", `"SHA256_A"`, `"AA"`, "line 13: SHA-256 fingerprint \"AA\" is not 32"},
		{"fingerprint of another hash", `sha512: "SHA512_B"`, `sha512: "SHA256_B"`, "line 23: SHA-512"},
		{"fingerprint in small letters", `"SHA256_A"`, strings.ToLower(fmt.Sprintf("%q", fingerprint(crypto.SHA256, nil))), "line 13: SHA-256"},
		{"second fingerprint wrong", `"SHA1_A"`, `"AA:BB"`, "line 12: SHA-1"},
		{"fingerprint twice", `sha1: "SHA1_C"`, `sha256: "SHA256_A"`, "line 31: SHA-256 fingerprint 55:9A"},
		{"too large", "---\n", "---\n# " + strings.Repeat("x", 5<<20), "more than 5242880 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(sample, c.old) {
				t.Fatalf("the sample has no %q", c.old)
			}
			_, err := ParseCatalog([]byte(pins(strings.Replace(sample, c.old, c.new, 1))))
			wantError(t, err, c.want)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("error repeats a password: %v", err)
			}
		})
	}
}

func TestOwnCatalogs(t *testing.T) {
	var all []*Catalog
	for kind, want := range map[Kind]int{Roots: 26, Intermediates: 143} {
		c, err := OwnCatalog(kind)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Entries) != want {
			t.Errorf("%s: %d entries, want %d", kind, len(c.Entries), want)
		}
		for _, e := range c.Entries {
			if _, strong := e.pin(crypto.SHA256); !strong {
				t.Errorf("%s %q has no SHA-256", e.Vendor, e.Name)
			}
		}
		all = append(all, c)
	}
	if err := Disjoint(all[0], all[1]); err != nil {
		t.Error(err)
	}
	wantError(t, Disjoint(all[0], all[0]), "have the same url https://")
}

// FuzzParseCatalog: what is accepted is safe to fetch and to print.
func FuzzParseCatalog(f *testing.F) {
	f.Add([]byte(pins(sample)))
	f.Add([]byte("version: \"alpha\"\nvendors:\n- {id: \"IFX\", name: x, certificates: [{name: a, url: \"https://b\"}]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCatalog(data)
		if err != nil {
			return
		}
		if len(c.Entries) == 0 {
			t.Fatal("empty catalog")
		}
		seen := map[string]bool{}
		for _, e := range c.Entries {
			if err := checkText(e.Name); err != nil {
				t.Errorf("name %q: %v", e.Name, err)
			}
			if err := checkURL(e.URL); err != nil || hostOf(e.URL) == "" {
				t.Errorf("url %q: %v", e.URL, err)
			}
			if len(e.Fingerprints) == 0 {
				t.Errorf("%q has no fingerprint", e.Name)
			}
			for _, key := range append(e.keys(), e.Vendor+"/"+e.Name) {
				if seen[key] {
					t.Errorf("%s twice", key)
				}
				seen[key] = true
			}
			for _, pin := range e.Fingerprints {
				if again, err := parseFingerprint(pin.Hash, pin.String()); err != nil || !cmp.Equal(pin, again) {
					t.Errorf("%v reads back as %v, %v", pin, again, err)
				}
			}
		}
	})
}
