package strictyaml

import (
	"fmt"
	"reflect"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Located is a value and the line where it stands, for errors about its
// meaning.
type Located[T any] struct {
	Value T
	Line  int // from 1; 0: not in the document
}

// setLine is how the decoder recognises a Located.
func (l *Located[T]) setLine(line int) { l.Line = line }

type located interface{ setLine(line int) }

// Decode reads the one YAML document in data into the value that into points
// to, which should be zero. A document without content leaves it as it is.
//
// It fills structs (by the names in their `yaml:"…"` tags), maps with text
// keys, slices, pointers, strings, bools, integers, and [Located] of these. A
// value of another kind is an error, but for text that stands for a struct: it is that
// of the field with the tag `text:"true"`; so is a key that is not in the struct.
// Errors are [*Error]s, except those for malformed YAML, which have their line
// in the text. Decode panics if into is no pointer or points to other types.
//
// The caller limits the size of data.
func Decode(data []byte, into any) error {
	root, err := parse(data)
	if err != nil || root == nil {
		return err
	}
	return decode(root, reflect.ValueOf(into).Elem())
}

func decode(n *yaml.Node, v reflect.Value) error {
	if l, ok := v.Addr().Interface().(located); ok {
		l.setLine(n.Line)
		return decode(n, v.FieldByName("Value"))
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return decode(n, v.Elem())
	case reflect.Struct:
		return decodeStruct(n, v)
	case reflect.Map:
		return decodeMap(n, v)
	case reflect.Slice:
		return decodeList(n, v)
	case reflect.String:
		if n.Tag != "!!str" || n.Kind != yaml.ScalarNode {
			return mismatch(n, "text")
		}
		v.SetString(n.Value)
	case reflect.Bool:
		// Of YAML's many spellings, the one that nobody misreads.
		if n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
			return mismatch(n, "true or false")
		}
		v.SetBool(n.Value == "true")
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16, reflect.Int8:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		if n.Tag != "!!int" || err != nil || strconv.FormatInt(i, 10) != n.Value {
			return mismatch(n, fmt.Sprintf("a whole decimal number of at most %d bits", v.Type().Bits()))
		}
		v.SetInt(i)
	default:
		panic("strictyaml: cannot decode into " + v.Type().String())
	}
	return nil
}

// mismatch is a value of the wrong kind.
func mismatch(n *yaml.Node, want string) error {
	switch {
	case n.Kind == yaml.MappingNode:
		return errorAt(n, "a map stands where there must be %s", want)
	case n.Kind == yaml.SequenceNode:
		return errorAt(n, "a list stands where there must be %s", want)
	case want == "text":
		return errorAt(n, "%.80q must be text: put quotes around it", n.Value)
	}
	return errorAt(n, "%.80q must be %s", n.Value, want)
}

func decodeStruct(n *yaml.Node, v reflect.Value) error {
	fields := map[string]int{}
	for i := range v.NumField() {
		if n.Kind == yaml.ScalarNode && v.Type().Field(i).Tag.Get("text") != "" {
			return decode(n, v.Field(i))
		}
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "" {
			fields[name] = i
		}
	}
	if n.Kind != yaml.MappingNode {
		return mismatch(n, "a map")
	}
	for i := 0; i < len(n.Content); i += 2 {
		k := n.Content[i]
		field, known := fields[k.Value]
		if !known {
			return unknownKey(k, fields)
		}
		if err := decode(n.Content[i+1], v.Field(field)); err != nil {
			return err
		}
	}
	return nil
}

func decodeMap(n *yaml.Node, v reflect.Value) error {
	if n.Kind != yaml.MappingNode {
		return mismatch(n, "a map")
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Content)/2))
	for i := 0; i < len(n.Content); i += 2 {
		element := reflect.New(v.Type().Elem()).Elem()
		if err := decode(n.Content[i+1], element); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(n.Content[i].Value).Convert(v.Type().Key()), element)
	}
	return nil
}

func decodeList(n *yaml.Node, v reflect.Value) error {
	if n.Kind != yaml.SequenceNode {
		return mismatch(n, "a list")
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, element := range n.Content {
		if err := decode(element, v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

// unknownKey names the known key that the person most likely meant.
func unknownKey(k *yaml.Node, fields map[string]int) error {
	nearest, least := "", 3
	for name := range fields {
		d := distance(k.Value, name)
		if d < least || d == least && name < nearest {
			nearest, least = name, d
		}
	}
	if nearest == "" {
		return errorAt(k, "unknown key %.80q", k.Value)
	}
	return errorAt(k, "unknown key %.80q; did you mean %q?", k.Value, nearest)
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
