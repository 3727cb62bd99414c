package sshsig

import (
	"iter"
	"strings"
)

// lines yields the lines of a trust file that say something, with their numbers
// from 1: without line ends, surrounding blanks, empty lines and comments.
func lines(data []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		number := 0
		for line := range strings.SplitSeq(string(data), "\n") {
			number++
			line = strings.Trim(line, " \t\r")
			if line == "" || line[0] == '#' {
				continue
			}
			if !yield(number, line) {
				return
			}
		}
	}
}

// cutField cuts the first field and the blanks behind it from a line.
func cutField(line string) (field, rest string) {
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return line, ""
	}
	return line[:i], strings.TrimLeft(line[i:], " \t")
}

func blank(c byte) bool { return c == ' ' || c == '\t' }
