package bundle

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func lines(findings []CatalogFinding) []string {
	var all []string
	for _, f := range findings {
		all = append(all, f.String())
	}
	return all
}

// TestCheckCatalogs: all mistakes of all files, in their order.
func TestCheckCatalogs(t *testing.T) {
	bad := strings.NewReplacer(
		`"alpha"`, `"gamma"`,
		`id: "IFX"`, `id: "EVIL"`,
		`description: "the first"`, `descripton: "the first"`,
		"https://pki.example/one.crt", "http://pki.example/one.crt",
		`"SHA1_A"`, `"AA"`,
		`sha256: "SHA256_A"`, `sha265: "SHA256_A"`,
		`"historic"`, `"old"`,
		`"given up in 2020"`, `"a\tb"`,
		`id: "AMD"`, `id: &x "STM"`,
		"      name: \"AMD\"\n", "",
	).Replace(sample)
	other := strings.NewReplacer(`"CA two"`, `"CA 2"`, "two.crt", "2.crt", "SHA512_B", "SHA512_C", "more.crt", "less.crt", "SHA1_C", "SHA1_B",
		"one.crt", "1.crt", "SHA1_A", "SHA1_D").Replace(sample)
	got := lines(CheckCatalogs(CatalogFile{"bad.yaml", []byte(pins(bad))}, CatalogFile{"good.yaml", []byte(pins(sample))},
		CatalogFile{"other.yaml", []byte(pins(strings.ReplaceAll(other, `"SHA1_D"`, `"SHA1_B"`)))}, CatalogFile{"empty.yaml", nil}))
	want := []string{
		`bad.yaml:2:10: error: version is "gamma", want "alpha" or "beta" [version]`,
		`bad.yaml:4:11: error: vendor id "EVIL" is not in the TCG registry [vendor]`,
		`bad.yaml:8:11: error: unknown key "descripton"; did you mean "description"? [yaml]`,
		`bad.yaml:9:16: error: url of "CA one": "http://pki.example/one.crt" is not https [url]`,
		`bad.yaml:12:23: error: SHA-1 fingerprint "AA" is not 20 upper-case pairs of hexadecimal digits joined by colons [fingerprint]`,
		`bad.yaml:13:17: error: unknown key "sha265"; did you mean "sha256"? [yaml]`,
		`bad.yaml:16:19: error: status "old" is neither "current" nor "historic" [status]`,
		`bad.yaml:20:18: error: text has the unprintable character U+0009 [yaml]`,
		`bad.yaml:32:11: error: anchors and aliases are not allowed [yaml]`,
		`good.yaml:27: warning: STM certificate "CA one" is pinned by SHA-1 only; add its SHA-256 [sha1-pin]`,
		`good.yaml:27: error: url https://other.example:8443/one%20more.crt?a=b is already in bad.yaml, line 27 [duplicate]`,
		`good.yaml:32: warning: vendor AMD stands after STM [order]`,
		pins(`other.yaml:7: error: SHA-256 fingerprint "SHA256_A" is already in good.yaml, line 7 [duplicate]`),
		pins(`other.yaml:31:23: error: SHA-1 fingerprint "SHA1_B" is already in line 12 [duplicate]`),
		`empty.yaml:1: error: the catalog is empty [empty]`,
	}
	for i := range want[10:] {
		want[10+i] = strings.NewReplacer(`fingerprint "`, "fingerprint ", `" is already`, " is already").Replace(want[10+i])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCheckOwnCatalogs(t *testing.T) {
	var files []CatalogFile
	for _, k := range Kinds() {
		files = append(files, CatalogFile{string(k), OwnCatalogFile(k)})
	}
	if findings := CheckCatalogs(files...); len(findings) > 0 {
		t.Errorf("%v", lines(findings))
	}
}

func TestCheckForm(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"normal", normal, ""},
		{"single quotes", strings.Replace(normal, `"AMD"`, "'AMD'", 1), `f:7: warning: "    - id: 'AMD'" stands where the normal form has "    - id: \"AMD\"" [normal-form]`},
		{"CRLF", strings.ReplaceAll(normal, "\n", "\r\n"), `f:1: warning: "---\r" stands where the normal form has "---" [normal-form]`},
		{"no line feed at the end", strings.TrimSuffix(normal, "\n"), `f:36: warning: "# the end" stands where the normal form has a line feed behind it [normal-form]`},
		{"more at the end", normal + "\n\n", `f:37: warning: "" stands where the normal form ends [normal-form]`},
		{"text of two lines", strings.Replace(normal, `folded"`, "\n folded\"", 1), "f:24: warning: text must end in the line where it begins, so that comments can be told from it [normal-form]"},
	} {
		got := strings.Join(lines(CheckCatalogs(CatalogFile{"f", []byte(pins(c.text))})), "\n")
		if got != c.want {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}
