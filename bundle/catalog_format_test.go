package bundle

import (
	"bytes"
	"crypto"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// loose is a catalog as people write it; normal is the same as we write it.
const loose = `# The list of the lab.
# Ask Ann before you change it.

---
version: alpha   # the first
vendors:

  # made in Geneva
  - name: 'STMicroelectronics'
    id: STM # with a T
    certificates:
    # the new one
    - {name: "CA # two", url: "https://pki.example/two.crt", validation: {fingerprint: {sha512: "SHA512_B"}}}

    # the old one,
    # which needs two lines
    - name: CA "one"
      validation:
        fingerprint: {sha256: "SHA256_C", sha1: "SHA1_C"} # by phone
      notes: it's
        folded
      url: https://pki.example/one.crt
      exceptions: [not-self-signed, key-id]
      evidence: [ "https://pki.example/list.pdf#page=2" ]
      status: historic
    # nothing more of theirs
  - id: "AMD"
    name: "AMD"
    certificates: []
# the end
`

const normal = `---
# The list of the lab.
# Ask Ann before you change it.

version: "alpha" # the first
vendors:
    - id: "AMD"
      name: "AMD"
      certificates: []
    # made in Geneva
    - id: "STM" # with a T
      name: "STMicroelectronics"
      certificates:
        # the old one,
        # which needs two lines
        - name: "CA \"one\""
          url: "https://pki.example/one.crt"
          status: "historic"
          evidence:
            - "https://pki.example/list.pdf#page=2"
          exceptions:
            - "not-self-signed"
            - "key-id"
          notes: "it's folded"
          validation:
            fingerprint: # by phone
                sha1: "SHA1_C"
                sha256: "SHA256_C"
        # the new one
        - name: "CA # two"
          url: "https://pki.example/two.crt"
          validation:
            fingerprint:
                sha512: "SHA512_B"
      # nothing more of theirs
# the end
`

func TestFormatCatalog(t *testing.T) {
	for _, text := range []string{loose, normal, strings.ReplaceAll(loose, "\n", "\r\n")} {
		got, err := FormatCatalog([]byte(pins(text)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(pins(normal), string(got)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestFormatOwnCatalogs: our lists are in normal form, in whatever order they were.
func TestFormatOwnCatalogs(t *testing.T) {
	for _, k := range Kinds() {
		own := OwnCatalogFile(k)
		got, err := FormatCatalog(own)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(own), string(got)); diff != "" {
			t.Errorf("%s: %s", k, diff)
		}
		r := readCatalog(own)
		vendors := r.document.Value.Vendors.Value
		rand.Shuffle(len(vendors), func(i, j int) { vendors[i], vendors[j] = vendors[j], vendors[i] })
		for _, v := range vendors {
			c := v.Value.Certificates.Value
			rand.Shuffle(len(c), func(i, j int) { c[i], c[j] = c[j], c[i] })
		}
		shuffled, err := encodeCatalog(&r.document, r.entries)
		if err != nil || !bytes.Equal(shuffled, own) {
			t.Errorf("%s: shuffled and sorted again: %v", k, err)
		}
	}
}

// TestSpecExample: the example of the specification is in normal form.
func TestSpecExample(t *testing.T) {
	doc, err := os.ReadFile("../docs/spec/catalog.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(doc), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	if findings := CheckCatalogs(CatalogFile{"example", []byte(example)}); len(findings) > 0 || example == "" {
		t.Errorf("%v", lines(findings))
	}
}

func TestFormatCatalogRefuses(t *testing.T) {
	_, err := FormatCatalog([]byte("vendors: []\n"))
	wantError(t, err, "line 1: the catalog lists no certificate")
	_, err = FormatCatalog([]byte(pins(strings.Replace(sample, `"CA two"`, "\"CA\n            # two\"", 1))))
	wantError(t, err, "line 14: text must end in the line where it begins")
}

func TestInsertEntry(t *testing.T) {
	fp := func(h crypto.Hash, s string) Fingerprint { return fingerprint(h, []byte(s)) }
	e := Entry{Vendor: "STM", Name: "CA a", URL: "https://pki.example/a.crt", Fingerprints: []Fingerprint{fp(crypto.SHA1, "A"), fp(crypto.SHA256, "A")}}
	got, err := InsertEntry([]byte(pins(loose)), e)
	if err != nil {
		t.Fatal(err)
	}
	const added = `        - name: "CA a"
          url: "https://pki.example/a.crt"
          validation:
            fingerprint:
                sha1: "SHA1_A"
                sha256: "SHA256_A"
      # nothing more`
	want := pins(strings.Replace(normal, "      # nothing more", added, 1))
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	// A vendor that was not there, and all that an entry can say.
	full := Entry{"IBM", "CA", "d", "https://pki.example/b.crt", Historic, []string{"https://pki.example/"}, []string{"key-id"}, "n", []Fingerprint{fp(crypto.SHA384, "B")}, 0}
	got, err = InsertEntry(got, full)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCatalog(got)
	if err != nil || len(c.Entries) != 4 {
		t.Fatal(err, c)
	}
	full.Line = c.Entries[0].Line
	if diff := cmp.Diff(full, c.Entries[0]); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(string(got), "    - id: \"IBM\"\n      name: \"IBM\"\n") {
		t.Errorf("%s", got)
	}
	beta := strings.ReplaceAll(strings.Replace(pins(normal), "alpha", "beta", 1), " url:", " uri:")
	if got, err = InsertEntry([]byte(beta), e); err != nil || !strings.Contains(string(got), "uri: \"https://pki.example/a.crt\"") {
		t.Errorf("%v %s", err, got)
	}
	for _, c := range []struct {
		change func(*Entry)
		want   string
	}{
		{func(e *Entry) { e.Vendor = "EVIL" }, `vendor id "EVIL" is not in the TCG registry`},
		{func(e *Entry) { e.Name = `CA "one"` }, `STM certificate "CA \"one\"" is already in line 16`},
		{func(e *Entry) { e.URL = "https://pki.example/two.crt" }, `STM certificate "CA # two" in line 30 has the same url`},
		{func(e *Entry) { e.Fingerprints[1] = fp(crypto.SHA256, "C") }, `certificate "CA \"one\"" in line 16 has the same SHA-256 fingerprint`},
		{func(e *Entry) { e.URL = "http://pki.example/x" }, "is not https"},
		{func(e *Entry) { e.Name = "CA\n" }, "U+000A"},
		{func(e *Entry) { e.Fingerprints = nil }, "has no fingerprint"},
	} {
		bad := e
		bad.Fingerprints = slices.Clone(e.Fingerprints)
		c.change(&bad)
		_, err := InsertEntry([]byte(pins(normal)), bad)
		wantError(t, err, c.want)
	}
}

func TestDeleteEntry(t *testing.T) {
	got, lost, err := DeleteEntry([]byte(pins(loose)), "STM", `CA "one"`)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(pins(normal), "        # the old one")
	_, after, _ := strings.Cut(rest, "        # the new one")
	if diff := cmp.Diff(before+"        # the new one"+after, string(got)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"# the old one,", "# which needs two lines", "# by phone"}, lost); diff != "" {
		t.Error(diff)
	}
	_, _, err = DeleteEntry(got, "STM", `CA "one"`)
	wantError(t, err, `the catalog has no "STM" certificate "CA \"one\""`)
	_, _, err = DeleteEntry(got, "STM", "CA # two")
	wantError(t, err, "cannot be empty")
	// The vendor goes with its last certificate.
	if got, _, err = DeleteEntry([]byte(pins(sample)), "STM", "CA one"); err != nil || strings.Contains(string(got), "STM") {
		t.Errorf("%v %s", err, got)
	}
}

// TestWrittenCatalogMeansTheSame, or it is not written.
func TestWrittenCatalogMeansTheSame(t *testing.T) {
	data := []byte(pins(normal))
	d, err := commented(data)
	if err != nil {
		t.Fatal(err)
	}
	entries := readCatalog(data).entries
	entries[0].Notes = "other"
	_, err = encodeCatalog(d, entries)
	wantError(t, err, "would not mean the same")
}

// TestLargeCatalog: what is within the limits is read and written in bounded time and
// memory.
func TestLargeCatalog(t *testing.T) {
	var text strings.Builder
	text.WriteString("---\nversion: \"alpha\"\nvendors:\n    - id: \"IFX\"\n      name: \"Infineon\"\n      certificates:\n")
	const count = 28_000
	for i := range count {
		fmt.Fprintf(&text, "        - name: \"%d\"\n          url: \"https://a.example/%d\"\n          validation: {fingerprint: {sha1: %q}}\n",
			i, i, fingerprint(crypto.SHA1, fmt.Append(nil, i)))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	c, err := ParseCatalog([]byte(text.String()))
	if err != nil || len(c.Entries) != count {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	t.Logf("%d bytes, %v, %d MB allocated", text.Len(), time.Since(start), (after.TotalAlloc-before.TotalAlloc)>>20)
	if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 600 {
		t.Errorf("%d MB allocated", allocated)
	}
	if findings := CheckCatalogs(CatalogFile{"big", []byte(text.String())}); len(findings) < count {
		t.Errorf("%d findings", len(findings))
	}
}

// TestCommentsAnywhere: wherever a comment is, it is kept, and no other place is found
// for it the second time.
func TestCommentsAnywhere(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		lines := strings.Split(pins([]string{sample, loose, normal}[random.IntN(3)]), "\n")
		for n := range random.IntN(4) + 1 {
			i := 1 + random.IntN(len(lines)-1)
			switch text := fmt.Sprintf("# comment %d", n); random.IntN(3) {
			case 0:
				lines[i] += " " + text
			case 1:
				lines = slices.Insert(lines, i, "")
				fallthrough
			default:
				lines = slices.Insert(lines, i, strings.Repeat(" ", random.IntN(18))+text)
			}
		}
		data := []byte(strings.Join(lines, "\n"))
		if _, err := ParseCatalog(data); err != nil {
			continue // a comment in the middle of a text
		}
		first, err := FormatCatalog(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if lost := lostComments(data, first); len(lost) > 0 {
			t.Fatalf("lost %q of\n%s\nin\n%s", lost, data, first)
		}
		if second, err := FormatCatalog(first); err != nil || !bytes.Equal(first, second) {
			t.Fatalf("%v: formatted again:\n%s\nfirst:\n%s", err, second, first)
		}
	}
}

// FuzzFormatCatalog: formatting keeps the meaning, loses no comment, and settles.
func FuzzFormatCatalog(f *testing.F) {
	for _, seed := range []string{sample, loose, normal} {
		f.Add([]byte(pins(seed)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		findings := CheckCatalogs(CatalogFile{"f", data})
		c, err := ParseCatalog(data)
		if (err != nil) != slices.ContainsFunc(findings, func(f CatalogFinding) bool { return f.Severity == Error }) {
			t.Fatalf("%v, but %v", err, findings)
		}
		for _, f := range findings {
			if err := checkPrintable(f.String()); err != nil || f.Line < 1 {
				t.Errorf("%q: %v", f, err)
			}
		}
		if err != nil {
			return
		}
		first, err := FormatCatalog(data)
		if err != nil {
			return // says that it would lose a comment
		}
		again, err := ParseCatalog(first)
		if err != nil {
			t.Fatalf("%v in\n%s", err, first)
		}
		if err := sameEntries(again.Entries, c.Entries); err != nil {
			t.Errorf("%v:\n%s", err, first)
		}
		if lost := lostComments(data, first); len(lost) > 0 {
			t.Errorf("lost %q in\n%s", lost, first)
		}
		if second, err := FormatCatalog(first); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%v: formatted again:\n%s\nfirst:\n%s", err, second, first)
		}
	})
}
