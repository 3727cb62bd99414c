package cli

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable escapes, as Go does, whatever a terminal would obey instead of showing
// it: file names and the words of devices and servers are part of what we print.
func printable(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		one := text[:size]
		if !unicode.IsPrint(r) || r == utf8.RuneError && size == 1 {
			one = strconv.Quote(one)
			one = one[1 : len(one)-1]
		}
		b.WriteString(one)
		text = text[size:]
	}
	return b.String()
}
