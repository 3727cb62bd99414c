package key

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// Ref names a key: the same text on the command line, in the configuration and
// after "sealsmith://". Its forms are NAME, BACKEND/NAME and id:HEX, where HEX
// is at least eight digits of the key's [ID].
type Ref struct {
	Backend string // "tpm", "piv/SERIAL"; empty means any
	Name    string // empty when ID is set
	ID      ID     // a prefix of the ID; empty when Name is set
}

// minPrefix is how many digits of an ID name a key.
const minPrefix = 8

// The grammars do not count: to compile one that does takes longer than all else
// before main, and this package is in every program.
var (
	nameGrammar    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	idGrammar      = regexp.MustCompile(`^[0-9a-f]+$`)
	backendGrammar = regexp.MustCompile(`^(tpm|piv/[0-9]+)$`)
)

// The longest name, ID and backend with a serial number.
const (
	maxName    = 64
	maxID      = 64
	maxBackend = len("piv/") + 10
)

// ValidName reports whether s can be a key's name: up to 64 lower-case letters,
// digits, dots, underscores and hyphens, beginning with a letter or a digit.
func ValidName(s string) bool { return len(s) <= maxName && nameGrammar.MatchString(s) }

// ParseRef parses a reference, with or without its "sealsmith://" prefix. Its
// errors wrap [ErrUsage].
func ParseRef(s string) (Ref, error) {
	text := strings.TrimPrefix(s, "sealsmith://")
	if hex, found := strings.CutPrefix(text, "id:"); found {
		if len(hex) < minPrefix || len(hex) > maxID || !idGrammar.MatchString(hex) {
			return Ref{}, hint.Wrap(fmt.Errorf("key reference %.80q: %w", s, ErrUsage),
				fmt.Sprintf("after id: come %d to 64 lower-case hexadecimal digits", minPrefix))
		}
		return Ref{ID: ID(hex)}, nil
	}
	var r Ref
	r.Name = text
	if i := strings.LastIndexByte(text, '/'); i >= 0 {
		r.Backend, r.Name = text[:i], text[i+1:]
		if len(r.Backend) > maxBackend || !backendGrammar.MatchString(r.Backend) {
			return Ref{}, hint.Wrap(fmt.Errorf("key reference %.80q: %w", s, ErrUsage),
				"write NAME, tpm/NAME, piv/SERIAL/NAME or id:HEX")
		}
	}
	if !ValidName(r.Name) {
		return Ref{}, badName(r.Name)
	}
	return r, nil
}

// String is the inverse of [ParseRef].
func (r Ref) String() string {
	switch {
	case r.ID != "":
		return "id:" + string(r.ID)
	case r.Backend != "":
		return r.Backend + "/" + r.Name
	}
	return r.Name
}

// Matches reports whether the reference names the key.
func (r Ref) Matches(in Info) bool {
	if r.ID != "" {
		return strings.HasPrefix(string(in.ID), string(r.ID))
	}
	return r.Name == in.Ref.Name && (r.Backend == "" || r.Backend == in.Ref.Backend)
}

func badName(name string) error {
	return hint.Wrap(fmt.Errorf("key name %.80q: %w", name, ErrUsage),
		"a name has 1 to 64 lower-case letters, digits, dots, underscores and hyphens, and begins with a letter or a digit")
}

// checkComment keeps a comment printable: it stands in public key files, in
// lists and in prompts.
func checkComment(s string) error {
	if len(s) > limits.KeyComment {
		return fmt.Errorf("comment of %d bytes, at most %d: %w", len(s), limits.KeyComment, ErrUsage)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("comment is not UTF-8: %w", ErrUsage)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("comment has the unprintable character %U: %w", r, ErrUsage)
		}
	}
	return nil
}
