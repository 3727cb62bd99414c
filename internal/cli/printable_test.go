package cli

import (
	"bytes"
	"errors"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// TestPrintable: what a stranger named or said reaches the terminal as text.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		`plain "text", ünïcode 鍵`:   `plain "text", ünïcode 鍵`,
		"esc \x1b[2J":               `esc \x1b[2J`,
		"line\nok: forged":          `line\nok: forged`,
		"return\rok":                `return\rok`,
		"C1 \u009b31m":              `C1 \u009b31m`,
		"raw C1 \x9b31m":            `raw C1 \x9b31m`,
		"bidi \u202etxt.exe":        `bidi \u202etxt.exe`,
		"replaced \ufffd, cut \xe9": "replaced \ufffd, cut \\xe9",
		"":                          "",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q is printed as %q, want %q", in, got, want)
		}
	}
}

// TestPrintedLines: each kind of line that people read.
func TestPrintedLines(t *testing.T) {
	const bad = "a\x1b]0;title\a"
	var out, errs bytes.Buffer
	a := &app{Streams: Streams{Out: &out, Err: &errs}}
	a.printError(hint.Wrap(errors.New(bad+"\n"+bad), bad))
	a.say("%s", bad)
	a.notice(bad)
	if err := a.printResult(resultJSON{Subject: bad, Checks: []string{bad}, NotChecked: []string{bad}}); err != nil {
		t.Fatal(err)
	}
	const shown = `a\x1b]0;title\a` + "\n"
	if want := "sealsmith: error: " + shown + "sealsmith: " + shown + "sealsmith: hint: " + shown + shown + "sealsmith: note: " + shown; errs.String() != want {
		t.Errorf("printed %q, want %q", errs.String(), want)
	}
	if want := "ok: " + shown + "not checked: " + shown + "verified: " + shown; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}
