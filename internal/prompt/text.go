package prompt

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// Prompt is what is shown.
type Prompt struct {
	// Title is our own sentence: what is asked.
	Title string
	// Error is our own sentence too: what was wrong with the last answer;
	// empty the first time.
	Error string
	// Secret is what [Prompter]'s PIN calls that which is typed, at the terminal;
	// empty means "PIN".
	Secret string
	// Facts are what we computed, and quotations beside it.
	Facts []Line
	// Claims are what the asking program says about itself.
	Claims []Line
}

// Line is a labelled value.
type Line struct {
	Label, Value string
	// Quoted marks a fact whose words somebody else chose. It is shown as a
	// quotation, as every claim is, and is cut, visibly, where room is short;
	// other facts are never cut.
	Quoted bool
}

// fit lays the prompt out as text for which fits is true. To make room it cuts
// the claims first, then the quotations among the facts. It fails with
// [ErrUnavailable] if there is no room for the rest.
func (p Prompt) fit(fits func(text string) bool) (string, error) {
	claims, quotations := limits.ClaimText, limits.ClaimText
	for {
		text := p.text(claims, quotations)
		switch {
		case fits(text):
			return text, nil
		case claims > limits.ShortClaim:
			claims /= 2
		case quotations > limits.ShortClaim:
			quotations /= 2
		default:
			return "", hint.Wrap(fmt.Errorf("%w: the question is too long to be shown whole", ErrUnavailable),
				"ask for less at once: for a statement about fewer things")
		}
	}
}

// whole is [Prompt.fit] for those who show text of any reasonable length.
func (p Prompt) whole() (string, error) {
	return p.fit(func(text string) bool { return len(text) <= limits.PromptText })
}

// text lays the prompt out in lines of printable characters.
func (p Prompt) text(claims, quotations int) string {
	var b strings.Builder
	if p.Error != "" {
		fmt.Fprintf(&b, "%s\n\n", exact(p.Error))
	}
	b.WriteString(exact(p.Title))
	if len(p.Facts) > 0 {
		b.WriteByte('\n')
	}
	for _, l := range p.Facts {
		value := exact(l.Value)
		if l.Quoted {
			value = quote(l.Value, quotations)
		}
		fmt.Fprintf(&b, "\n%s: %s", exact(l.Label), value)
	}
	if len(p.Claims) > 0 {
		b.WriteString("\n\nThe program says:")
	}
	for _, l := range p.Claims {
		fmt.Fprintf(&b, "\n%s: %s", exact(l.Label), quote(l.Value, claims))
	}
	return b.String()
}

// exact shows all of a value, and as it is unless it could change how the text
// around it looks.
func exact(s string) string {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || inconspicuous(r) }
	if !utf8.ValidString(s) || strings.ContainsFunc(s, odd) || strings.Contains(s, "  ") {
		return quote(s, 10*len(s)) // the longest escape is \U0010ffff
	}
	return s
}

// quote shows text as a Go string, in at most limit bytes between the quotes; dots
// after it say that there is more. Go's escapes leave printable characters only.
// We escape besides what is hard to see, and all but the first of a run of blanks,
// which would move the words behind it to a line of their own.
func quote(s string, limit int) string {
	var b strings.Builder
	b.WriteByte('"')
	afterBlank := false
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		one := strconv.Quote(s[:size])
		switch {
		case r == ' ' && afterBlank:
			one = `"\x20"`
		case inconspicuous(r):
			one = strconv.QuoteToASCII(s[:size])
		}
		one = one[1 : len(one)-1]
		if b.Len()-1+len(one) > limit {
			return b.String() + `"...`
		}
		b.WriteString(one)
		afterBlank = r == ' '
		s = s[size:]
	}
	return b.String() + `"`
}

// inconspicuous says whether a character counts as printable but shows nothing,
// or only on the character before it.
func inconspicuous(r rune) bool {
	return unicode.In(r, unicode.M, unicode.Other_Default_Ignorable_Code_Point) || r == '\u2800' // blank Braille
}
