package strictyaml

import (
	"fmt"
	"reflect"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Located is a value, the place where it stands, for errors about its meaning, and
// the comments that belong to it, for [Encode].
type Located[T any] struct {
	Value  T
	Line   int // from 1; 0: not in the document
	Column int // from 1, in characters
	Comments
}

// Comments are the comments of a value, with their # signs; several lines are joined
// by line feeds. Only [DecodeCommented] finds them.
type Comments struct {
	Above, Beside, Below string
}

// setPlace is how the decoder recognises a Located.
func (l *Located[T]) setPlace(n *yaml.Node, c Comments) {
	l.Line, l.Column, l.Comments = n.Line, n.Column, c
}

// comments is how the encoder recognises a Located.
func (l *Located[T]) comments() Comments { return l.Comments }

type located interface {
	setPlace(n *yaml.Node, c Comments)
	comments() Comments
}

// Decode reads the one YAML document in data into the value that into points
// to, which should be zero. A document without content leaves it as it is.
//
// It fills structs (by the names in their `yaml:"…"` tags), maps with text
// keys, slices, pointers, strings, bools, integers, and [Located] of these. A
// value of another kind is an error, but for text that stands for a struct: it is that
// of the field with the tag `text:"true"`; so is a key that is not in the struct.
// Errors are [Errors] and name all mistakes that can be told apart; what is right is
// filled in even then, and what is wrong is left as it was, but with its place if
// it is a Located. Decode panics if into is no pointer or points to other types.
//
// The caller limits the size of data.
func Decode(data []byte, into any) error {
	r := &reader{bad: map[*yaml.Node]bool{}}
	root, err := r.parse(data)
	if err != nil || root == nil {
		return err
	}
	r.decode(root, reflect.ValueOf(into).Elem())
	return r.result()
}

func (r *reader) decode(n *yaml.Node, v reflect.Value) {
	if l, ok := v.Addr().Interface().(located); ok {
		l.setPlace(n, r.comments[n])
		v = v.FieldByName("Value")
	}
	if r.bad[n] {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		r.decode(n, v.Elem())
	case reflect.Struct:
		r.decodeStruct(n, v)
	case reflect.Map:
		r.decodeMap(n, v)
	case reflect.Slice:
		r.decodeList(n, v)
	default:
		r.decodeScalar(n, v)
	}
}

func (r *reader) decodeScalar(n *yaml.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if n.Tag != "!!str" || n.Kind != yaml.ScalarNode {
			r.mismatch(n, "text")
			return
		}
		v.SetString(n.Value)
	case reflect.Bool:
		// Of YAML's many spellings, the one that nobody misreads.
		if n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
			r.mismatch(n, "true or false")
			return
		}
		v.SetBool(n.Value == "true")
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16, reflect.Int8:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		if n.Tag != "!!int" || err != nil || strconv.FormatInt(i, 10) != n.Value {
			r.mismatch(n, fmt.Sprintf("a whole decimal number of at most %d bits", v.Type().Bits()))
			return
		}
		v.SetInt(i)
	default:
		panic("strictyaml: cannot decode into " + v.Type().String())
	}
}

// mismatch is a value of the wrong kind.
func (r *reader) mismatch(n *yaml.Node, want string) {
	switch {
	case n.Kind == yaml.MappingNode:
		r.errorAt(n, "a map stands where there must be %s", want)
	case n.Kind == yaml.SequenceNode:
		r.errorAt(n, "a list stands where there must be %s", want)
	case want == "text":
		r.errorAt(n, "%.80q must be text: put quotes around it", n.Value)
	default:
		r.errorAt(n, "%.80q must be %s", n.Value, want)
	}
}

func (r *reader) decodeStruct(n *yaml.Node, v reflect.Value) {
	fields := map[string]int{}
	for i := range v.NumField() {
		if n.Kind == yaml.ScalarNode && v.Type().Field(i).Tag.Get("text") != "" {
			r.decode(n, v.Field(i))
			return
		}
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "" {
			fields[name] = i
		}
	}
	if n.Kind != yaml.MappingNode {
		r.mismatch(n, "a map")
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		k := n.Content[i]
		if r.bad[k] {
			continue
		}
		field, known := fields[k.Value]
		if !known {
			r.unknownKey(k, fields)
			continue
		}
		r.decode(n.Content[i+1], v.Field(field))
	}
}

func (r *reader) decodeMap(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		r.mismatch(n, "a map")
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	for i := 0; i < len(n.Content); i += 2 {
		if r.bad[n.Content[i]] {
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		r.decode(n.Content[i+1], element)
		v.SetMapIndex(reflect.ValueOf(n.Content[i].Value).Convert(v.Type().Key()), element)
	}
}

func (r *reader) decodeList(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		r.mismatch(n, "a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, element := range n.Content {
		r.decode(element, v.Index(i))
	}
}

// unknownKey names the known key that the person most likely meant.
func (r *reader) unknownKey(k *yaml.Node, fields map[string]int) {
	nearest, least := "", 3
	for name := range fields {
		d := distance(k.Value, name)
		if d < least || d == least && name < nearest {
			nearest, least = name, d
		}
	}
	if nearest == "" {
		r.errorAt(k, "unknown key %.80q", k.Value)
		return
	}
	r.errorAt(k, "unknown key %.80q; did you mean %q?", k.Value, nearest)
}

// distance counts the bytes to insert, delete or replace to make b of a
// (Levenshtein). Texts too different in length to be neighbours are not
// compared.
func distance(a, b string) int {
	if d := max(len(a)-len(b), len(b)-len(a)); d > 2 {
		return d
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
