package bundle

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// checkText says why text cannot stand in a line of a bundle: it must not be
// able to end the line, to hide, or to look like a line of PEM.
func checkText(s string) error {
	switch {
	case s == "":
		return errors.New("empty")
	case len(s) > limits.BundleText:
		return fmt.Errorf("longer than %d bytes", limits.BundleText)
	case strings.TrimSpace(s) != s:
		return errors.New("space at an end")
	case strings.Contains(s, "-----"):
		return errors.New("five dashes, as in a line of PEM")
	}
	return checkPrintable(s)
}

// checkPrintable allows printable Unicode, which has no control, invisible or
// bidirectional characters, and the ASCII space.
func checkPrintable(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("not UTF-8")
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("the unprintable character %U", r)
		}
	}
	return nil
}

// quote shows text from a stranger: quoted and cut at 200 bytes.
func quote(s string) string {
	const most = 200
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
