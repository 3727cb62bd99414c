package strictyaml

import (
	"bytes"
	"fmt"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// indent is what each level of a map is indented by. An element of a list stands
// in a column that is a multiple of it.
const indent = 4

// Encode writes the value that v points to as a YAML document: keys in the order
// of the struct's fields, text in double quotes, [Located] values with their
// comments. Fields that are empty are left out, but for lists that are not nil. It
// takes structs, slices, text and [Located] of these, and panics at anything else;
// it keeps nothing of the place that a Located names.
//
// The library moves some comments when it reads what it wrote. Who wants a file that
// stays as it is encodes it until it does.
func Encode(v any) ([]byte, error) {
	root := encode(reflect.ValueOf(v).Elem())
	var out bytes.Buffer
	out.WriteString("---\n")
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(indent)
	if err := encoder.Encode(root.document()); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	return out.Bytes(), nil
}

// item is a node and the comments that its key takes, if it has one.
type item struct {
	*yaml.Node
	comments Comments
}

// document puts the comments of the root where the library looks for them.
func (i item) document() *yaml.Node {
	return &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{i.Node}, HeadComment: i.comments.Above, FootComment: i.comments.Below}
}

// element is a node of a list.
func (i item) element() *yaml.Node {
	i.HeadComment, i.LineComment, i.FootComment = i.comments.Above, i.comments.Beside, i.comments.Below
	return i.Node
}

// field is a node of a map, after its key.
func (i item) field(name string) []*yaml.Node {
	k := &yaml.Node{Kind: yaml.ScalarNode, Value: name, HeadComment: i.comments.Above, FootComment: i.comments.Below}
	if i.Kind == yaml.ScalarNode || len(i.Content) == 0 {
		i.LineComment = i.comments.Beside
	} else {
		k.LineComment = i.comments.Beside
	}
	return []*yaml.Node{k, i.Node}
}

func encode(v reflect.Value) item {
	if l, ok := v.Addr().Interface().(located); ok {
		return item{encode(v.FieldByName("Value")).Node, l.comments()}
	}
	n := &yaml.Node{}
	switch v.Kind() {
	case reflect.String:
		n.Kind, n.Style, n.Value = yaml.ScalarNode, yaml.DoubleQuotedStyle, v.String()
	case reflect.Slice:
		n.Kind = yaml.SequenceNode
		if v.Len() == 0 {
			n.Style = yaml.FlowStyle
		}
		for i := range v.Len() {
			n.Content = append(n.Content, encode(v.Index(i)).element())
		}
	case reflect.Struct:
		n.Kind = yaml.MappingNode
		for i := range v.NumField() {
			if field := v.Field(i); !empty(field) {
				n.Content = append(n.Content, encode(field).field(v.Type().Field(i).Tag.Get("yaml"))...)
			}
		}
	default:
		panic("strictyaml: cannot encode " + v.Type().String())
	}
	return item{Node: n}
}

// empty says whether a field is left out.
func empty(v reflect.Value) bool {
	if _, ok := v.Addr().Interface().(located); ok {
		return empty(v.FieldByName("Value"))
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if !empty(v.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		return v.IsNil()
	}
	return v.IsZero()
}
