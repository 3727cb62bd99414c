package prompt

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

func TestText(t *testing.T) {
	want := `Wrong PIN, 2 tries left

Sign with the key "release"

Key: tpm/release
Digest: sha256:0a
Name: "100%\u202e"...

The program says:
Subject: "image.tar\nKey: trusted"
Comment: "` + strings.Repeat("ä", 15) + `"...`
	if got := question.text(31, 11); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// TestTextIsPrintable: an agent that a stranger has taken over writes our own sentences
// too, and must not command the terminal that shows them.
func TestTextIsPrintable(t *testing.T) {
	q := Prompt{Title: "Sign\x1b]2;x\a", Error: "Wrong\r", Facts: []Line{{"Key\x1b[2J", "k", false}}, Claims: []Line{{"By\x9b1m", "", true}}}
	want := `"Wrong\r"

"Sign\x1b]2;x\a"

"Key\x1b[2J": k

The program says:
"By\x9b1m": ""`
	if got := q.text(9, 9); got != want {
		t.Errorf("got:\n%q\nwant:\n%q", got, want)
	}
}

// TestTextWithoutFacts: what asks ends where the answer begins.
func TestTextWithoutFacts(t *testing.T) {
	if got := (Prompt{Title: "PIN?"}).text(1, 1); got != "PIN?" {
		t.Errorf("a title alone: %q", got)
	}
	if got := (Prompt{Title: "PIN?", Claims: []Line{{Label: "For", Value: "x"}}}).text(9, 9); got != "PIN?\n\nThe program says:\nFor: \"x\"" {
		t.Errorf("without facts: %q", got)
	}
}

// TestFit: claims make room first, then quotations; facts never do.
func TestFit(t *testing.T) {
	long := strings.Repeat("x", limits.ClaimText)
	q := Prompt{Title: "Sign?", Facts: []Line{{"Digest", long, false}, {"Name", long, true}}, Claims: []Line{{"Subject", long, true}}}
	for _, c := range []struct {
		room        int
		name, claim string // empty: refused
	}{
		{1 << 20, `"` + long + `"`, `"` + long + `"`},
		{600, `"` + long + `"`, `"` + long[:100] + `"...`},
		{475, `"` + long + `"`, `"` + long[:12] + `"...`},
		{400, `"` + long[:100] + `"...`, `"` + long[:12] + `"...`},
		{290, `"` + long[:12] + `"...`, `"` + long[:12] + `"...`},
		{250, "", ""},
	} {
		got, err := q.fit(func(text string) bool { return len(text) <= c.room })
		if c.name == "" {
			if !errors.Is(err, ErrUnavailable) || len(hint.Of(err)) == 0 {
				t.Errorf("room %d: %q, %v", c.room, got, err)
			}
			continue
		}
		want := "Sign?\n\nDigest: " + long + "\nName: " + c.name + "\n\nThe program says:\nSubject: " + c.claim
		if err != nil || got != want || len(got) > c.room {
			t.Errorf("room %d: got %v\n%s\nwant\n%s", c.room, err, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `""`,
		"v1 of app":              `"v1 of app"`,
		"a    b ":                `"a \x20\x20\x20b "`,
		`say "no"`:               `"say \"no\""`,
		"a\xffb":                 `"a\xffb"`,
		"\u2800\u3164\u00ad":     `"\u2800\u3164\u00ad"`, // blanks to the eye
		"a\u0336":                `"a\u0336"`,            // struck through
		"Größe 東京":               `"Größe 東京"`,
		"\u200b\u2028\U0001f600": `"\u200b\u2028😀"`,
	} {
		if got := quote(text, 100); got != want {
			t.Errorf("%q is shown as %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"sha256:0a": "sha256:0a", "a  b": `"a \x20b"`, "a\nb": `"a\nb"`, "a\xff": `"a\xff"`, "\u3164": `"\u3164"`,
		strings.Repeat("x", 1000): strings.Repeat("x", 1000),
	} {
		if got := exact(text); got != want {
			t.Errorf("the fact %q is shown as %s, want %s", text, got, want)
		}
	}
}

// FuzzQuote: a quotation means its text, or the beginning of it, is as short as it
// must be, and holds nothing that cannot be seen.
func FuzzQuote(f *testing.F) {
	for _, seed := range []string{"", "image:v1", "a   b", "\xff\u202e\n\"", "\u2800\u3164", "ä\u0308\U0010ffff"} {
		f.Add(seed, 10)
	}
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = max(0, min(limit, 10*len(text)))
		got := quote(text, limit)
		literal, cut := strings.CutSuffix(got, `"...`)
		if cut {
			literal += `"`
		}
		back, err := strconv.Unquote(literal)
		if err != nil || !strings.HasPrefix(text, back) || cut == (back == text) {
			t.Fatalf("%q in %d bytes is %s, which means %q, %v", text, limit, got, back, err)
		}
		if len(literal)-2 > limit || strings.Contains(literal, "  ") {
			t.Fatalf("%q in %d bytes is %s", text, limit, got)
		}
		for _, r := range literal {
			if !strconv.IsPrint(r) || inconspicuous(r) {
				t.Fatalf("%s has the character %U", got, r)
			}
		}
	})
}
