package bundle

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// lineOf is the number of the line in which text begins.
func lineOf(t *testing.T, file, text string) int {
	t.Helper()
	before, _, found := strings.Cut(file, text)
	if !found {
		t.Fatalf("no %q in %s", text, file)
	}
	return 1 + strings.Count(before, "\n")
}

// TestFileFaults: what people and programs do to bundles, each with its line and
// its reason.
func TestFileFaults(t *testing.T) {
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n"
	const secret = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"
	vendor := map[Format]string{Sealsmith: "# Vendor: ", TPMTB: "# Owner: "}
	name := map[Format]string{Sealsmith: "# Name: ", TPMTB: "# Certificate: "}
	order := map[Format]string{Sealsmith: "# Vendor: IFX", TPMTB: "# Certificate: IFX"} // what shows it
	for _, f := range []Format{Sealsmith, TPMTB} {
		good := string(mustBuild(t, vectorCerts(t), header(Roots, f)).Encode())
		top, rest, _ := strings.Cut(good, "\n\n")
		top += "\n"
		first, second, _ := strings.Cut(rest, end+"\n")
		first += end
		replaced := func(old, new string) string { return strings.Replace(good, old, new, 1) }
		for _, c := range []struct {
			name string
			bad  string
			line int // 0: the file's last
			want string
		}{
			{"header without certificate", top, strings.Count(top, "\n"), "no certificate after the header"},
			{"header and a blank line", top + "\n", strings.Count(top, "\n") + 1, "no certificate after the header"},
			{"two headers", top + good, lineOf(t, good, "\n\n") + 1, "is \"#"},
			{"foreign text", replaced(end+"\n", end+"hello\n\n"), lineOf(t, good, end) + 1, `is "hello\n", want "\n"`},
			{"foreign comment", replaced(begin, "# hello\n"+begin), lineOf(t, good, begin), `is "# hello\n"`},
			{"text at the end", good + "hello\n", strings.Count(good, "\n") + 1, `"hello\n" after the last certificate`},
			{"key", replaced(end+"\n", end+secret+"\n"), lineOf(t, good, end) + 1, `is "-----BEGIN PRIVATE KEY-----\n"`},
			{"key at the end", good + secret, strings.Count(good, "\n") + 1, `"-----BEGIN PRIVATE KEY-----\n" after the last certificate`},
			{"cut in the last block", good[:len(good)-len(end)-9], strings.LastIndex(good, begin), "the certificate that begins here has no end"},
			{"CRLF", strings.ReplaceAll(good, "\n", "\r\n"), 1, "ends with CR and LF"},
			{"CRLF in one line", replaced(end, end[:len(end)-1]+"\r\n"), lineOf(t, good, end), "is no line of base64"},
			{"CRLF in a comment", replaced(testDate+"\n", testDate+"\r\n"), lineOf(t, good, testDate), `date "2026-04-11\r" is not`},
			{"wrong owner", replaced(vendor[f]+"IFX", vendor[f]+"STN"), lineOf(t, good, vendor[f]+"IFX"), `vendor id "STN" is not in the TCG registry`},
			{"another's name", replaced(name[f]+"IFX CA 1", name[f]+"IFX\tCA 1"), lineOf(t, good, name[f]+"IFX"), "unprintable character U+0009"},
			{"no name", replaced(name[f]+"IFX CA 1\n", ""), lineOf(t, good, begin) - 1, "a certificate without a line " + fmt.Sprintf("%q", name[f])},
			{"other order", top + "\n" + second + "\n" + first, lineOf(t, good, order[f]), "want \"#"},
			{"comment of another certificate", replaced("CN=IFX CA 1", "CN=IFX CA 2"), lineOf(t, good, "CN=IFX CA 1"), "want \"# "},
			{"NUL", replaced("CN=IFX CA 1", "CN=IFX\x00CA 1"), lineOf(t, good, "CN=IFX CA 1"), `\x00`},
			{"NUL at the end", good + "\x00", strings.Count(good, "\n") + 1, `"\x00" after the last certificate`},
			{"byte order mark", "\ufeff" + good, 1, "a byte order mark before the header"},
			{"no final line feed", strings.TrimSuffix(good, "\n"), strings.Count(good, "\n"), "no line feed at its end"},
			{"blank line at the end", good + "\n", strings.Count(good, "\n") + 1, `"\n" after the last certificate`},
			{"PEM header", replaced(begin, begin+"Proc-Type: 4,ENCRYPTED\n\n"), lineOf(t, good, begin) + 1, "is no line of base64"},
			{"longer PEM lines", rewrap(good, begin, 76), lineOf(t, good, begin) + 1, "want \"MII"},
			{"comments after the PEM", replaced(begin, "\n"+begin), lineOf(t, good, begin), `is "\n", want "-----BEGIN CERTIFICATE-----\n"`},
			{"other header", strings.Replace(good, "# ", "## ", 1), 1, "not the header of a TPM CA bundle"},
			{"no header", rest, 1, "not the header of a TPM CA bundle"},
			{"record without certificate", top + "\n" + strings.Split(first, begin)[0] + "\n" + rest, lineOf(t, good, begin), `is "\n", want "-----BEGIN`},
			{"base64 with other bits", strings.Replace(good, "=\n-----END", "=\n=\n-----END", 1), 0, "the certificate that begins here: illegal base64"},
		} {
			t.Run(string(f)+"/"+c.name, func(t *testing.T) {
				if c.bad == good {
					t.Fatal("the file was not changed")
				}
				if c.name == "cut in the last block" {
					c.line = 1 + strings.Count(good[:c.line], "\n")
				}
				_, problems := CheckFile([]byte(c.bad))
				if len(problems) == 0 {
					t.Fatal("accepted")
				}
				wantError(t, problems[0], c.want)
				if problems[0].Line != c.line && c.line > 0 {
					t.Errorf("line %d, want %d: %v", problems[0].Line, c.line, problems[0])
				}
				_, err := Parse([]byte(c.bad))
				wantError(t, err, problems[0].Error())
			})
		}
	}
}

// rewrap breaks the lines of the first PEM block elsewhere.
func rewrap(file, begin string, columns int) string {
	head, rest, _ := strings.Cut(file, begin)
	body, tail, _ := strings.Cut(rest, "-----END")
	body = strings.ReplaceAll(body, "\n", "")
	var lines strings.Builder
	for len(body) > columns {
		lines.WriteString(body[:columns] + "\n")
		body = body[columns:]
	}
	return head + begin + lines.String() + body + "\n-----END" + tail
}

// TestAllProblemsAreListed, up to a limit, if all lines are in their places.
func TestAllProblemsAreListed(t *testing.T) {
	good := string(mustBuild(t, vectorCerts(t), header(Roots, Sealsmith)).Encode())
	_, problems := CheckFile([]byte(strings.ReplaceAll(good, "Serial: ", "Serial: 0")))
	want := []*Problem{{11, `is "# Serial: 01\n", want "# Serial: 1\n"`}, {30, `is "# Serial: 01d\n", want "# Serial: 1d\n"`}}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}
	_, problems = CheckFile([]byte(strings.NewReplacer("# S", "# s", "# Not", "# not", "# Issuer", "# issuer").Replace(good)))
	if len(problems) != limits.BundleProblems {
		t.Errorf("%d problems", len(problems))
	}
}

func TestCheckFileKnowsTheLines(t *testing.T) {
	for _, f := range []Format{Sealsmith, TPMTB} {
		data := mustBuild(t, vectorCerts(t), header(Roots, f)).Encode()
		b, problems := CheckFile(data)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		lines := bytes.Split(data, []byte("\n"))
		for _, n := range b.Lines() {
			if string(lines[n-1]) != "-----BEGIN CERTIFICATE-----" {
				t.Errorf("line %d is %q", n, lines[n-1])
			}
		}
		if len(b.Lines()) != 2 {
			t.Errorf("lines %v", b.Lines())
		}
	}
	for _, data := range [][]byte{nil, make([]byte, limits.BundleFile+1)} {
		if _, problems := CheckFile(data); len(problems) != 1 || problems[0].Line != 0 {
			t.Errorf("got %v", problems)
		}
	}
}

// TestCheckFileJudgesNoCertificate: that is for who lists findings.
func TestCheckFileJudgesNoCertificate(t *testing.T) {
	leaf := template(2, "leaf")
	leaf.IsCA = false
	b, err := assemble([]Certificate{{"IFX", "leaf", selfSigned(t, leaf)}}, header(Roots, Sealsmith))
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := CheckFile(b.data); len(problems) > 0 {
		t.Error(problems)
	}
	_, err = Parse(b.data)
	wantError(t, err, "is not a CA certificate")
}
