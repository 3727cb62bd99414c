package sshsig

import (
	"errors"
	"strings"
)

// checkList refuses pattern lists with empty patterns, which are slips of the
// pen, and with control characters.
func checkList(list string) error {
	for pattern := range strings.SplitSeq(list, ",") {
		if pattern == "" || pattern == "!" {
			return errors.New("empty pattern")
		}
	}
	for _, c := range []byte(list) {
		if c < ' ' || c == 0x7f {
			return errors.New("control character")
		}
	}
	return nil
}

// matchList matches a comma-separated list of patterns (ssh_config(5),
// PATTERNS): one must match, and none that begins with ! may.
func matchList(list, s string) bool {
	matched := false
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(pattern, "!")
		if !MatchPattern(pattern, s) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// MatchPattern matches a text with one pattern (ssh_config(5), PATTERNS): * is any
// text and ? any one byte. It needs time proportional to the product of the lengths
// at most.
func MatchPattern(pattern, s string) bool {
	star, from := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
