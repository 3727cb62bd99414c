package sshsig

import (
	"strings"
	"testing"
)

func TestMatchPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "", false}, {"a", "a", true}, {"a", "A", false}, {"a", "ab", false},
		{"*", "", true}, {"*", "abc", true}, {"a*", "abc", true}, {"*c", "abc", true}, {"*b", "abc", false},
		{"a*c", "ac", true}, {"a*c", "abcbc", true}, {"a*b*c", "aXbYbZc", true}, {"a*b*c", "acb", false},
		{"?", "", false}, {"?", "a", true}, {"a?c", "abc", true}, {"a?", "abc", false}, {"?*?", "ab", true}, {"?*?", "a", false},
		{"*.example.org", "host.example.org", true}, {"*.example.org", "example.org", false}, {"***", "x", true}, {"[a]", "a", false},
	} {
		if got := MatchPattern(c.pattern, c.text); got != c.want {
			t.Errorf("%q with %q: %v", c.text, c.pattern, got)
		}
	}
	// One * too many must not cost exponentially more.
	if MatchPattern(strings.Repeat("a*", 100)+"b", strings.Repeat("a", 200)) {
		t.Error("matched")
	}
}
