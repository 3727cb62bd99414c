package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Error is a mistake in a document. Callers make their own for mistakes of
// meaning, with the line of a [Located] value.
type Error struct {
	Line int // from 1
	Err  error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the error without its line.
func (e *Error) Unwrap() error { return e.Err }

func errorAt(n *yaml.Node, format string, args ...any) error {
	return &Error{n.Line, fmt.Errorf(format, args...)}
}

// parse returns the root of the only document in data, or nil if there is none.
func parse(data []byte) (*yaml.Node, error) {
	if err := checkText(data); err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, parseError(err)
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, errorAt(&second, "a second document begins here")
	case !errors.Is(err, io.EOF):
		return nil, parseError(err)
	}
	root := document.Content[0]
	return root, check(root, 1)
}

// parseError takes the library's name off its errors, which have a line.
func parseError(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
}

// checkText refuses bytes that would make the document look unlike what it is:
// other encodings, control characters, invisible and bidirectional ones. It
// looks at comments too.
func checkText(data []byte) error {
	line := 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1:
			return &Error{line, errors.New("not UTF-8")}
		case r == '\n':
			line++
		case r == '\r' && bytes.HasPrefix(data, []byte("\r\n")):
		case r != '\t' && !unicode.IsPrint(r):
			return &Error{line, fmt.Errorf("unprintable character %U", r)}
		}
		data = data[size:]
	}
	return nil
}

// check walks a node and allows only the part of YAML that the package takes.
func check(n *yaml.Node, depth int) error {
	switch {
	case depth > limits.YAMLDepth:
		return errorAt(n, "nested deeper than %d levels", limits.YAMLDepth)
	case n.Anchor != "" || n.Kind == yaml.AliasNode:
		return errorAt(n, "anchors and aliases are not allowed")
	case n.Style&yaml.TaggedStyle != 0:
		return errorAt(n, "tag %.40q is not allowed", n.Tag)
	case n.Kind == yaml.ScalarNode:
		return checkScalar(n)
	case n.Kind == yaml.MappingNode:
		if err := checkKeys(n); err != nil {
			return err
		}
	}
	for _, child := range n.Content {
		if err := check(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func checkScalar(n *yaml.Node) error {
	for _, r := range n.Value {
		if !unicode.IsPrint(r) {
			return errorAt(n, "text has the unprintable character %U", r)
		}
	}
	switch n.Tag {
	case "!!str", "!!int", "!!bool":
		return nil
	case "!!null":
		return errorAt(n, "no value; leave the key out instead")
	}
	return errorAt(n, "%.80q is neither text nor a whole number nor true or false; put quotes around text", n.Value)
}

// checkKeys allows only text as keys, each once. A key that looks like a number
// counts as text.
func checkKeys(n *yaml.Node) error {
	first := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		k := n.Content[i]
		switch {
		case k.Kind != yaml.ScalarNode:
			return errorAt(k, "a key must be text")
		case k.Tag == "!!merge":
			return errorAt(k, "merge keys are not allowed")
		case k.Tag == "!!float" || k.Tag == "!!timestamp":
			k.Tag = "!!str"
		}
		if line, seen := first[k.Value]; seen {
			return errorAt(k, "key %.80q is already in line %d", k.Value, line)
		}
		first[k.Value] = k.Line
	}
	return nil
}
