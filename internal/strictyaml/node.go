package strictyaml

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Error is a mistake in a document. Callers make their own for mistakes of
// meaning, with the place of a [Located] value.
type Error struct {
	Line   int // from 1
	Column int // from 1, in characters; 0: not known
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the error without its place.
func (e *Error) Unwrap() error { return e.Err }

// Errors are mistakes in the order of the document.
type Errors []*Error

// Error implements error: it tells of the first.
func (e Errors) Error() string { return e[0].Error() }

// Unwrap returns each of them.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// reader collects the mistakes of one document.
type reader struct {
	errs Errors
	bad  map[*yaml.Node]bool // already in errs; what stands below them, too
	// If comments are wanted: those of values, and those that the library found.
	comments map[*yaml.Node]Comments
	seen     map[string]int
}

// errorAt notes a mistake.
func (r *reader) errorAt(n *yaml.Node, format string, args ...any) {
	r.bad[n] = true
	if len(r.errs) < limits.YAMLMistakes {
		r.errs = append(r.errs, &Error{n.Line, n.Column, fmt.Errorf(format, args...)})
	}
}

// result is nil or the mistakes.
func (r *reader) result() error {
	if len(r.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(r.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.errs
}

// parse returns the root of the only document in data, or nil if there is none.
// What stands in the way of any reading is an error; other mistakes are noted.
func (r *reader) parse(data []byte) (*yaml.Node, error) {
	if err := checkText(data); err != nil {
		return nil, Errors{err}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, Errors{parseError(data, err)}
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		r.errorAt(&second, "a second document begins here")
	case !errors.Is(err, io.EOF):
		return nil, Errors{parseError(data, err)}
	}
	if r.comments != nil {
		r.seen = map[string]int{}
		libraryComments(&document, r.seen)
	}
	root := document.Content[0]
	r.check(root, 1)
	return root, nil
}

// parseError puts an error of the library where it is: the library names the line
// where the innermost block began, or the line before, or none.
func parseError(data []byte, err error) *Error {
	message := func(err error) string {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if place, rest, found := strings.Cut(text, ": "); found && strings.HasPrefix(place, "line ") {
			return rest
		}
		return text
	}
	want := message(err)
	lines := slices.Collect(bytes.Lines(data))
	// The first lines with the same error: it is in the last of them.
	least, most := 1, len(lines)
	for least < most {
		middle := (least + most) / 2
		var n yaml.Node
		decoder, err := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:middle], nil))), error(nil)
		for err == nil {
			err = decoder.Decode(&n)
		}
		if message(err) == want {
			most = middle
		} else {
			least = middle + 1
		}
	}
	return &Error{Line: max(least, 1), Err: errors.New(want)}
}

// checkText refuses bytes that would make the document look unlike what it is:
// other encodings, control characters, invisible and bidirectional ones, and tabs
// where they look like spaces that count. It looks at comments too. It also
// refuses what would make more nodes than memory is meant for.
func checkText(data []byte) *Error {
	marks := 0
	for _, mark := range []string{"\n", ",", "[", "{", "- ", "? ", ": "} {
		marks += bytes.Count(data, []byte(mark))
	}
	if marks > limits.YAMLMarks {
		return &Error{Line: 1, Err: fmt.Errorf("more than %d lines and punctuation marks", limits.YAMLMarks)}
	}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		if err := checkLine(text); err != nil {
			err.Line = line
			return err
		}
	}
	return nil
}

func checkLine(text []byte) *Error {
	indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	if tab := bytes.IndexByte(indent, '\t'); tab >= 0 && len(bytes.TrimSpace(text)) > 0 {
		return &Error{Column: tab + 1, Err: errors.New("a tab in the indentation; use spaces")}
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	for column := 1; len(text) > 0; column++ {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			return &Error{Column: column, Err: errors.New("not UTF-8")}
		case r != '\t' && !unicode.IsPrint(r):
			return &Error{Column: column, Err: fmt.Errorf("unprintable character %U", r)}
		}
		text = text[size:]
	}
	return nil
}

// check walks a node and notes all that is not of the part of YAML that the
// package takes.
func (r *reader) check(n *yaml.Node, depth int) {
	switch {
	case depth > limits.YAMLDepth:
		r.errorAt(n, "nested deeper than %d levels", limits.YAMLDepth)
		return
	case n.Anchor != "" || n.Kind == yaml.AliasNode:
		r.errorAt(n, "anchors and aliases are not allowed")
	case n.Style&yaml.TaggedStyle != 0:
		r.errorAt(n, "tag %.40q is not allowed", n.Tag)
	case n.Kind == yaml.ScalarNode:
		r.checkScalar(n)
	case n.Kind == yaml.MappingNode:
		r.checkKeys(n)
	}
	for _, child := range n.Content {
		r.check(child, depth+1)
	}
}

func (r *reader) checkScalar(n *yaml.Node) {
	for _, char := range n.Value {
		if !unicode.IsPrint(char) {
			r.errorAt(n, "text has the unprintable character %U", char)
			return
		}
	}
	switch n.Tag {
	case "!!str", "!!int", "!!bool":
	case "!!null":
		r.errorAt(n, "no value; leave the key out instead")
	default:
		r.errorAt(n, "%.80q is neither text nor a whole number nor true or false; put quotes around text", n.Value)
	}
}

// checkKeys allows only text as keys, each once. A key that looks like a number
// counts as text.
func (r *reader) checkKeys(n *yaml.Node) {
	first := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		k := n.Content[i]
		switch {
		case k.Kind == yaml.AliasNode: // said by check
			continue
		case k.Kind != yaml.ScalarNode:
			r.errorAt(k, "a key must be text")
			continue
		case k.Tag == "!!merge":
			r.errorAt(k, "merge keys are not allowed")
			k.Tag = "!!str"
			continue
		case k.Tag == "!!float" || k.Tag == "!!timestamp":
			k.Tag = "!!str"
		}
		if line, seen := first[k.Value]; seen {
			r.errorAt(k, "key %.80q is already in line %d", k.Value, line)
			continue
		}
		first[k.Value] = k.Line
	}
}
