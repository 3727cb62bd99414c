package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// DecodeCommented is [Decode] for who wants to [Encode] the document again. It gives
// each comment to a [Located], of which every level of the document needs one:
//
//   - at the end of a line, to what begins in that line;
//   - on a line of its own, to what begins in the next line with content;
//   - but to what ends above it, an element of a list or the list, if it is indented
//     deeper than what follows;
//   - before the first key, with an empty line between, or after all: to the document.
//
// Text over several lines in quotes or behind | or > is an error, because what looks like
// a comment may be part of it.
func DecodeCommented(data []byte, into any) error {
	r := &reader{bad: map[*yaml.Node]bool{}, comments: map[*yaml.Node]Comments{}}
	root, err := r.parse(data)
	if err != nil || root == nil {
		return err
	}
	if err := r.attach(data, root); err != nil {
		return err
	}
	r.decode(root, reflect.ValueOf(into).Elem())
	return r.result()
}

// comment is one line of comment.
type comment struct {
	line   int // from 1
	column int // from 0
	text   string
	alone  bool // on a line of its own
}

// commentPattern is a line up to its comment, if it has one: quoted text, in which #
// means nothing, and other characters.
var commentPattern = regexp.MustCompile(`^(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^"'#]|[^\s"'\[{,:]["'#])*?(?:^|\s)(#.*)$`)

// CommentLines returns the comments of a document, line by line.
func CommentLines(data []byte) []string {
	var all []string
	for _, c := range findComments(data) {
		all = append(all, c.text)
	}
	return all
}

func findComments(data []byte) []comment {
	var all []comment
	line := 0
	for text := range bytes.Lines(data) {
		line++
		text = bytes.TrimRight(text, " \t\r\n")
		if m := commentPattern.FindSubmatchIndex(text); m != nil {
			all = append(all, comment{line, m[2], string(text[m[2]:]), len(bytes.TrimSpace(text[:m[2]])) == 0})
		}
	}
	return all
}

// textFinder looks at the lines of a document, at each once.
type textFinder struct {
	lines [][]byte
	line  int    // from 1
	runes []rune // of that line
}

// overLines finds text with special marks that goes over several lines: a # in it
// would look like a comment.
func (f *textFinder) overLines(n *yaml.Node) *yaml.Node {
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return n
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		if f.line != n.Line {
			f.line, f.runes = n.Line, []rune(string(f.lines[n.Line-1]))
		}
		if !quoted(f.runes[n.Column-1:]) {
			return n
		}
	}
	for _, child := range n.Content {
		if found := f.overLines(child); found != nil {
			return found
		}
	}
	return nil
}

// quoted says whether the quoted text that a line begins with ends in it.
func quoted(line []rune) bool {
	for i := 1; i < len(line); i++ {
		switch {
		case line[0] == '"' && line[i] == '\\':
			i++
		case line[0] == '\'' && line[i] == '\'' && i+1 < len(line) && line[i+1] == '\'':
			i++
		case line[i] == line[0]:
			return true
		}
	}
	return false
}

// libraryComments counts the comments that the library found.
func libraryComments(n *yaml.Node, count map[string]int) {
	for _, block := range []string{n.HeadComment, n.LineComment, n.FootComment} {
		for line := range strings.SplitSeq(block, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				count[line]++
			}
		}
	}
	for _, child := range n.Content {
		libraryComments(child, count)
	}
}

// holder is what a comment can belong to: a field of a map or an element of a list.
type holder struct {
	value  *yaml.Node
	parent int // index of the holder that it is in; -1: none
	line   int
	column int // of the key or of the element's content, from 0
	field  bool
}

// holders lists them in the order of the document.
func holders(n *yaml.Node, parent int, all []holder) []holder {
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			all = append(all, holder{child, parent, child.Line, child.Column - 1, false})
		case i%2 == 1:
			k := n.Content[i-1]
			all = append(all, holder{child, parent, k.Line, k.Column - 1, true})
		default:
			continue
		}
		all = holders(child, len(all)-1, all)
	}
	return all
}

// attach finds an owner for each comment.
func (r *reader) attach(data []byte, root *yaml.Node) error {
	lines := bytes.Split(data, []byte("\n"))
	if n := (&textFinder{lines: lines}).overLines(root); n != nil {
		return Errors{{Line: n.Line, Column: n.Column, Err: errors.New("text must end in the line where it begins, so that comments can be told from it")}}
	}
	found := findComments(data)
	for _, c := range found {
		r.seen[c.text]--
	}
	for text, n := range r.seen {
		if n > 0 {
			return Errors{{Line: 1, Err: fmt.Errorf("comment %.80q stands where it is hard to find; move it to a line of its own", text)}}
		}
	}
	all := holders(root, -1, nil)
	owned := map[*yaml.Node]*commentLines{}
	lastGap := gap(lines, all)
	for _, c := range found {
		// The first holder in a later line, and so the outermost that begins there.
		next, _ := slices.BinarySearchFunc(all, c.line+1, func(h holder, line int) int { return h.line - line })
		owner, place := root, below
		switch last := next == len(all); {
		case !c.alone:
			owner, place = beside(all[:next], c.line)
		case last || c.column > indentation(lines[all[next].line-1]):
			owner = ending(all[:next], c.column)
		case next > 0 || c.line > lastGap:
			owner = nil
		default:
			place = above
		}
		if owner == nil && next < len(all) {
			owner, place = all[next].value, above
		} else if owner == nil {
			owner = root
		}
		if owned[owner] == nil {
			owned[owner] = &commentLines{}
		}
		place(owned[owner], c.text)
	}
	for n, c := range owned {
		r.comments[n] = Comments{strings.Join(c.above, "\n"), c.beside, strings.Join(c.below, "\n")}
	}
	return nil
}

// commentLines are [Comments], line by line.
type commentLines struct {
	above, below []string
	beside       string
}

func above(c *commentLines, text string) { c.above = append(c.above, text) }
func below(c *commentLines, text string) { c.below = append(c.below, text) }

// beside finds what a comment at the end of a line belongs to.
func beside(before []holder, line int) (*yaml.Node, func(*commentLines, string)) {
	if len(before) == 0 {
		return nil, above // behind the beginning of the document
	}
	first := len(before) - 1
	for first > 0 && before[first-1].line == line {
		first--
	}
	if h := before[first]; !h.field && h.value.Kind == yaml.MappingNode && h.line == line {
		if len(before) > first+2 { // a whole element in one line
			return h.value, above
		}
		first = len(before) - 1
	}
	return before[first].value, func(c *commentLines, text string) {
		if c.beside != "" {
			above(c, text)
			return
		}
		c.beside = text
	}
}

// ending finds what ends above a comment that is indented deeper than what follows:
// the innermost element or list that is not indented deeper.
func ending(before []holder, column int) *yaml.Node {
	for i := len(before) - 1; i >= 0; i = before[i].parent {
		h := before[i]
		element := !h.field && h.value.Kind == yaml.MappingNode && h.column <= column
		list := h.field && h.value.Kind == yaml.SequenceNode && h.column < column
		if element || list {
			return h.value
		}
	}
	return nil
}

// indentation counts the spaces that a line begins with.
func indentation(line []byte) int { return len(line) - len(bytes.TrimLeft(line, " ")) }

// gap is the index of the last line before the first holder that is empty or begins
// the document; -1: there is none.
func gap(lines [][]byte, all []holder) int {
	last := -1
	if len(all) == 0 {
		return last
	}
	for i, line := range lines[:all[0].line-1] {
		if line = bytes.TrimSpace(line); len(line) == 0 || bytes.HasPrefix(line, []byte("---")) {
			last = i
		}
	}
	return last
}
