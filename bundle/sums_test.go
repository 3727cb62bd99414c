package bundle

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

const (
	sumA = "559aead08264d5795d3909718cdd05abd49572e84fe55590eef31a88a08fdffd" // of "A"
	sumB = "df7e70e5021544f4834bbee64a9e3789febc4be81470df629cad6ddb03320a5c" // of "B"
)

func TestSums(t *testing.T) {
	sums := NewSums([]File{{"b.pem", []byte("B")}, {"a.pem", []byte("A")}})
	want := sumA + "  a.pem\n" + sumB + "  b.pem\n"
	if got := string(sums.Encode()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	parsed, err := ParseSums([]byte(want), "b.pem", "a.pem")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sums, parsed); diff != "" {
		t.Error(diff)
	}
	if err := parsed.Check("a.pem", []byte("A")); err != nil {
		t.Error(err)
	}
	wantError(t, parsed.Check("a.pem", []byte("B")), "a.pem: its SHA-256 digest is "+sumB+", SHA256SUMS says "+sumA)
	wantError(t, parsed.Check("c.pem", nil), `does not name "c.pem"`)
}

func TestParseSumsRefuses(t *testing.T) {
	a, b := sumA+"  a.pem\n", sumB+"  b.pem\n"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", `names [], want ["a.pem" "b.pem"]`},
		{"one missing", a, `names ["a.pem"], want`},
		{"one more", a + b + sumA + "  c.pem\n", `"c.pem"], want`},
		{"other name", a + sumB + "  c.pem\n", `names ["a.pem" "c.pem"]`},
		{"twice", a + a, `line 2: "a.pem" is not after "a.pem"`},
		{"not sorted", b + a, `line 2: "a.pem" is not after "b.pem"`},
		{"no line feed at the end", a + b[:len(b)-1], "line 2: not a digest"},
		{"CRLF", strings.ReplaceAll(a+b, "\n", "\r\n"), `line 1: "a.pem\r" is not a plain file name`},
		{"blank line", a + "\n" + b, "line 2: not a digest"},
		{"comment", "# x\n" + a + b, "line 1: not a digest"},
		{"binary mark", strings.ReplaceAll(a+b, "  ", " *"), "line 1: not a digest"},
		{"one space", strings.ReplaceAll(a+b, "  ", " "), "line 1: not a digest"},
		{"three spaces", strings.ReplaceAll(a+b, "  ", "   "), `line 1: " a.pem" is not a plain`},
		{"capitals", strings.ToUpper(sumA) + "  a.pem\n" + b, "line 1: \"559AEAD"},
		{"short digest", sumA[2:] + "  a.pem\n" + b, "is not a SHA-256 digest"},
		{"escaped", `\` + a + b, "is not a SHA-256 digest"},
		{"path", sumA + "  ../a.pem\n" + b, `line 1: "../a.pem" is not a plain`},
		{"Windows path", sumA + "  c:a.pem\n" + b, "is not a plain"},
		{"absolute", sumA + "  /a.pem\n" + b, "is not a plain"},
		{"hidden", sumA + "  .a.pem\n" + b, "is not a plain"},
		{"option", sumA + "  -a.pem\n" + b, "is not a plain"},
		{"control", sumA + "  a\x1b.pem\n" + b, "is not a plain"},
		{"too large", strings.Repeat(a, 1000), "more than 65536 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseSums([]byte(c.text), "a.pem", "b.pem")
			wantError(t, err, c.want)
		})
	}
}

func TestSHA256SumAgrees(t *testing.T) {
	program := testenv.Need(t, testenv.SHA256Sum)
	dir := t.TempDir()
	out := &Output{Files: []File{{"a.pem", []byte("A")}, {"b.pem", []byte("B")}}}
	out.Files = append(out.Files, File{SumsName, NewSums(out.Files).Encode()})
	if err := out.Write(dir); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--strict", "-c", filepath.Join(dir, SumsName))
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil || string(text) != "a.pem: OK\nb.pem: OK\n" {
		t.Errorf("%s: %v", text, err)
	}
}

func TestSumsAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		contents := rapid.MapOf(rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,20}`), rapid.SliceOf(rapid.Byte())).Draw(t, "files")
		var files []File
		var names []string
		for name, data := range contents {
			files = append(files, File{name, data})
			names = append(names, name)
		}
		sums := NewSums(files)
		parsed, err := ParseSums(sums.Encode(), names...)
		if err != nil || len(parsed) != len(files) {
			t.Fatalf("%v: %v", parsed, err)
		}
		for _, f := range files {
			if err := parsed.Check(f.Name, f.Data); err != nil {
				t.Fatal(err)
			}
			if parsed.Check(f.Name, append(slices.Clone(f.Data), 0)) == nil {
				t.Fatalf("%s: other bytes pass", f.Name)
			}
		}
	})
}

// FuzzParseSums: what is accepted is what Encode writes, and names only what was
// expected.
func FuzzParseSums(f *testing.F) {
	f.Add([]byte(sumA+"  a.pem\n"+sumB+"  b.pem\n"), "a.pem", "b.pem")
	f.Add([]byte(sumA+"  /etc/passwd\n"), "/etc/passwd", "b.pem")
	f.Add([]byte(fmt.Sprintf("%064d  %s\n", 0, SumsName)), SumsName, "")
	f.Fuzz(func(t *testing.T, data []byte, first, second string) {
		sums, err := ParseSums(data, first, second)
		if err != nil {
			return
		}
		if !bytes.Equal(sums.Encode(), data) {
			t.Errorf("%q is read as %q", data, sums.Encode())
		}
		if len(sums) != 2 || filepath.Base(first) != first || filepath.Base(second) != second {
			t.Errorf("names %q and %q are accepted in %q", first, second, data)
		}
	})
}
