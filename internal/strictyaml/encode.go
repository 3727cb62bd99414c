package strictyaml

import (
	"bytes"
	"reflect"
	"strconv"
	"strings"
)

// indent is what the levels are indented by: a map or list below a key begins in the
// next column that is a multiple of it.
const indent = 4

// Encode writes the value that v points to as a YAML document: keys in the order
// of the struct's fields, text in double quotes, [Located] values with their
// comments. Fields that are empty are left out, but for lists that are not nil. It
// takes structs, slices, text and [Located] of these, and panics at anything else.
//
// The library's own writer moves comments to where it then gives them to others.
func Encode(v any) []byte {
	w := &writer{}
	root := reflect.ValueOf(v).Elem()
	value, c := split(root)
	w.line(0, "---")
	if w.comment(0, c.Above); c.Above != "" {
		w.line(0, "")
	}
	w.fields(0, value, "")
	w.comment(0, c.Below)
	return w.out.Bytes()
}

// writer writes lines.
type writer struct{ out bytes.Buffer }

func (w *writer) line(column int, text string) {
	if text != "" {
		w.out.WriteString(strings.Repeat(" ", column))
	}
	w.out.WriteString(text + "\n")
}

func (w *writer) comment(column int, text string) {
	if text != "" {
		for line := range strings.SplitSeq(text, "\n") {
			w.line(column, line)
		}
	}
}

// split parts a value from its comments.
func split(v reflect.Value) (reflect.Value, Comments) {
	if l, ok := v.Addr().Interface().(located); ok {
		return v.FieldByName("Value"), l.comments()
	}
	return v, Comments{}
}

// fields writes a map. The first line of a map that is an element of a list has the
// dash in place of its last two spaces.
func (w *writer) fields(column int, v reflect.Value, dash string) {
	for i := range v.NumField() {
		field := v.Field(i)
		if empty(field) {
			continue
		}
		value, c := split(field)
		if dash == "" {
			w.comment(column, c.Above)
		}
		w.field(column-len(dash), dash+v.Type().Field(i).Tag.Get("yaml")+":", value, c)
		dash = ""
	}
}

// field writes a key, which may stand behind a dash, and its value.
func (w *writer) field(column int, key string, v reflect.Value, c Comments) {
	beside := ""
	if c.Beside != "" {
		beside = " " + c.Beside
	}
	below := (column+strings.Count(key, "- ")*2)/indent*indent + indent
	switch v.Kind() {
	case reflect.Struct:
		w.line(column, key+beside)
		w.fields(below, v, "")
	case reflect.Slice:
		if v.Len() == 0 {
			w.line(column, key+" []"+beside)
		} else {
			w.line(column, key+beside)
			w.list(below, v)
		}
		w.comment(below, c.Below)
	case reflect.String:
		w.line(column, key+" "+strconv.Quote(v.String())+beside)
	default:
		panic("strictyaml: cannot encode " + v.Type().String())
	}
}

func (w *writer) list(column int, v reflect.Value) {
	for i := range v.Len() {
		value, c := split(v.Index(i))
		w.comment(column, c.Above)
		if value.Kind() == reflect.Struct {
			w.comment(column, firstComment(value))
			w.fields(column+2, value, "- ")
			w.comment(column+2, c.Below)
		} else {
			w.field(column, "-", value, c)
		}
	}
}

// firstComment is the comment above the first field that is written: it stands above
// the whole element.
func firstComment(v reflect.Value) string {
	for i := range v.NumField() {
		if field := v.Field(i); !empty(field) {
			_, c := split(field)
			return c.Above
		}
	}
	return ""
}

// empty says whether a field is left out.
func empty(v reflect.Value) bool {
	v, _ = split(v)
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
