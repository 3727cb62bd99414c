package bundle

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

var update = flag.Bool("update", false, "rewrite the test vectors")

// vectorCerts are the certificates of the test vector in the specification.
func vectorCerts(t testing.TB) []Certificate {
	t.Helper()
	odd := template(0x1d, "ignored")
	odd.Subject = pkix.Name{CommonName: ` #1 "TPM"`, ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{2, 5, 4, 5}, Value: "0815"},
	}}
	odd.Issuer = odd.Subject
	return []Certificate{
		{"STM", "Example CA (odd names)", selfSigned(t, odd)},
		testCA(t, "IFX", 1),
	}
}

func mustBuild(t testing.TB, certs []Certificate, h Header) *Bundle {
	t.Helper()
	b, findings, err := Build(certs, h)
	if err != nil || len(findings) > 0 {
		t.Fatal(err, findings)
	}
	return b
}

func header(k Kind, f Format) Header {
	return Header{Kind: k, Format: f, Date: testDate, Commit: testCommit}
}

// TestVectors keeps the files that the specification shows.
func TestVectors(t *testing.T) {
	for _, f := range []Format{Sealsmith, TPMTB} {
		b := mustBuild(t, vectorCerts(t), header(Roots, f))
		path := filepath.Join("testdata", string(f)+".pem")
		if *update {
			if err := os.WriteFile(path, b.Encode(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.Encode(), want) {
			t.Errorf("%s: got\n%s\nwant\n%s", f, b.Encode(), want)
		}
		parsed, err := Parse(want)
		if err != nil {
			t.Fatal(err)
		}
		same := slices.EqualFunc(parsed.Certificates(), b.Certificates(), func(x, y Certificate) bool {
			return x.Vendor == y.Vendor && x.Name == y.Name && x.X509.Equal(y.X509)
		})
		if parsed.Header() != b.Header() || len(parsed.Certificates()) != 2 || !same {
			t.Errorf("%s is read as %+v with %d certificates", f, parsed.Header(), len(parsed.Certificates()))
		}
	}
	spec, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "spec", "ca-bundle.md"))
	if err != nil {
		t.Fatal(err)
	}
	vector, err := os.ReadFile(filepath.Join("testdata", string(Sealsmith)+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(spec, vector) {
		t.Error("docs/spec/ca-bundle.md does not show testdata/sealsmith.pem")
	}
}

func TestBundlesAreReadBack(t *testing.T) {
	var all []Certificate
	for i := range int64(12) {
		all = append(all, testCA(t, []string{"AMD", "IFX", "STM"}[i%3], i+1))
	}
	names := rapid.StringMatching(`[!-~äß€]([ -~äß€]{0,40}[!-~äß€])?`).Filter(func(s string) bool { return checkText(s) == nil })
	rapid.Check(t, func(t *rapid.T) {
		certs := rapid.Permutation(all).Draw(t, "order")[:rapid.IntRange(1, len(all)).Draw(t, "n")]
		for i := range certs {
			certs[i].Name = names.Draw(t, "name")
		}
		h := Header{
			Kind:   rapid.SampledFrom(Kinds()).Draw(t, "kind"),
			Format: rapid.SampledFrom([]Format{Sealsmith, TPMTB}).Draw(t, "format"),
			Date:   rapid.SampledFrom([]string{"2020-02-29", "2026-04-11"}).Draw(t, "date"),
			Commit: rapid.StringMatching(`[0-9a-f]{40}`).Draw(t, "commit"),
		}
		if h.Format == Sealsmith && rapid.Bool().Draw(t, "no commit") {
			h.Commit = ""
		}
		b, _, err := Build(certs, h)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := Parse(b.Encode())
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Header() != h || !bytes.Equal(parsed.Encode(), b.Encode()) || len(parsed.Certificates()) != len(certs) {
			t.Fatalf("read as %+v", parsed.Header())
		}
		rand.Shuffle(len(certs), func(i, j int) { certs[i], certs[j] = certs[j], certs[i] })
		if again, _, err := Build(certs, h); err != nil || !bytes.Equal(again.Encode(), b.Encode()) {
			t.Fatalf("the order of the input matters (%v)", err)
		}
	})
}

// TestParseRefuses changes a good file in one place.
func TestParseRefuses(t *testing.T) {
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
	first := string(mustBuild(t, vectorCerts(t)[1:], header(Roots, Sealsmith)).Encode())
	first = first[strings.Index(first, "# Vendor"):]
	for _, c := range []struct{ name, old, new, want string }{
		{"other header", "# TPM", "# tpm", "line 1: not the header"},
		{"byte order mark", "# TPM", "\ufeff# TPM", "line 1: a byte order mark"},
		{"CRLF", "format 1\n", "format 1\r\n", "line 1: ends with CR and LF"},
		{"kind", "roots", "leaves", `line 2: "# Kind: leaves" is not of a kind`},
		{"date", testDate, "2026-4-11", `line 3: date "2026-4-11" is not`},
		{"no such date", testDate, "2026-02-30", "line 3: date"},
		{"commit", testCommit, "HEAD", `line 4: commit "HEAD" is not`},
		{"count", "Certificates: 2", "Certificates: 3", `line 5: is "# Certificates: 3\n", want "# Certificates: 2\n"`},
		{"two headers", "# Certificates", "# TPM CA bundle, sealsmith format 1\n# Certificates", "line 5"},
		{"vendor", "Vendor: IFX", "Vendor: EVIL", `line 7: vendor id "EVIL" is not`},
		{"no vendor", "# Vendor: IFX\n", "", `line 14: a certificate without a line "# Vendor: "`},
		{"name", "Name: IFX CA 1", "Name: IFX CA 1 ", `line 8: name "IFX CA 1 ": space at an end`},
		{"control character", "Name: IFX", "Name: \x00IFX", "line 8: name \"\\x00IFX CA 1\": the unprintable character U+0000"},
		{"subject that lies", "Subject: CN=IFX CA 1", "Subject: CN=IFX CA 2", `line 9: is "# Subject: CN=IFX CA 2`},
		{"digest that lies", "SHA-256: ", "SHA-256: 0", "line 14"},
		{"serial that lies", "Serial: 1\n", "Serial: 2\n", `line 11: is "# Serial: 2\n"`},
		{"comment", begin, "# trust me\n" + begin, `line 15: is "# trust me\n"`},
		{"text", end + "\n", end + "trust me\n\n", `line 25: is "trust me\n", want "\n"`},
		{"key", end + "\n", end + "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n\n", `line 25: is "-----BEGIN PRIVATE KEY-----\n"`},
		{"blank lines", end + "\n", end + "\n\n", `line 26: is "\n", want "# Vendor: STM\n"`},
		{"no blank line", end + "\n", end, `line 25: is "# Vendor: STM\n", want "\n"`},
		{"header in PEM", begin, begin + "X: y\n\n", `line 16: "X: y" is no line of base64`},
		{"other columns", begin + "MII", begin + "MI\nI", `line 16: is "MI\n", want`},
		{"cut block", end + "\n", "\n", `line 24: "" is no line of base64`},
		{"not base64", begin + "M", begin + "!", "line 16: \"!"},
		{"twice", "# Certificates: 2\n", "# Certificates: 3\n\n" + first, "is the same certificate as IFX \"IFX CA 1\" [duplicate]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			good := string(mustBuild(t, vectorCerts(t), header(Roots, Sealsmith)).Encode())
			bad := strings.Replace(good, c.old, c.new, 1)
			if bad == good {
				t.Fatalf("the bundle has no %q", c.old)
			}
			_, err := Parse([]byte(bad))
			wantError(t, err, c.want)
		})
	}
}

// TestEveryByteCounts: no byte of a bundle can be changed, left out or added.
func TestEveryByteCounts(t *testing.T) {
	for _, f := range []Format{Sealsmith, TPMTB} {
		good := mustBuild(t, vectorCerts(t), header(Roots, f)).Encode()
		for i := range good {
			changed := bytes.Clone(good)
			changed[i] ^= 1
			for what, bad := range map[string][]byte{"changed": changed, "cut": good[:i]} {
				b, err := Parse(bad)
				if err != nil {
					continue
				}
				// A name, a date and a commit may be any: they only must come
				// out again. The tpmtb format does not count its certificates.
				between := f == TPMTB && bytes.HasSuffix(bad, []byte("-----END CERTIFICATE-----\n"))
				if what == "cut" && !between || !bytes.Equal(b.Encode(), bad) {
					t.Fatalf("%s: byte %d %s, and it is accepted", f, i, what)
				}
			}
		}
		for _, more := range []string{"\n", "x", "\x00", "# x\n"} {
			if _, err := Parse(append(bytes.Clone(good), more...)); err == nil {
				t.Errorf("%s: %q after the end is accepted", f, more)
			}
		}
	}
}

func TestParseTPMTBRefuses(t *testing.T) {
	good := string(mustBuild(t, vectorCerts(t), header(Roots, TPMTB)).Encode())
	for _, c := range []struct{ old, new, want string }{
		{"## tpm-ca-certificates.pem", "## tpm-intermediate-ca-certificates.pem", `line 8: is "## and contains a list of verified TPM Root`},
		{"## tpm-ca-certificates.pem", "## tpm-other.pem", `line 2: "## tpm-other.pem" is not of a kind`},
		{testCommit, "", "the tpmtb format wants 40"},
		{testCommit, testCommit + "0", "the tpmtb format wants 40"},
		{"# Owner: IFX", "# Owner: STM", "want"},
		{"(0x1)", "(0x2)", "line 16"},
		{"Thu Jan 02", "Thu Jan  2", "line 18"},
	} {
		bad := strings.Replace(good, c.old, c.new, 1)
		if bad == good {
			t.Fatalf("the bundle has no %q", c.old)
		}
		_, err := Parse([]byte(bad))
		wantError(t, err, c.want)
	}
}

// FuzzParse: what is accepted has one encoding, which is the input.
func FuzzParse(f *testing.F) {
	for _, format := range []Format{Sealsmith, TPMTB} {
		for _, kind := range Kinds() {
			f.Add(mustBuild(f, vectorCerts(f), header(kind, format)).Encode())
		}
	}
	f.Add([]byte(sealsmithFirst))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Parse(data)
		if err != nil {
			return
		}
		if !bytes.Equal(b.Encode(), data) || len(b.Certificates()) == 0 {
			t.Errorf("%q is read as %q", data, b.Encode())
		}
		for _, c := range b.Certificates() {
			if !c.X509.IsCA || bytes.Count(data, []byte("-----BEGIN")) != len(b.Certificates()) {
				t.Errorf("%q holds something else than CA certificates", data)
			}
		}
	})
}
