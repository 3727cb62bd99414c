package strictyaml

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"

	"github.com/sealsmith/sealsmith/internal/limits"
)

type document struct {
	Name    string              `yaml:"name"`
	Count   int                 `yaml:"count"`
	Small   int8                `yaml:"small"`
	Confirm *bool               `yaml:"confirm"`
	Tags    []string            `yaml:"tags"`
	Keys    map[string]settings `yaml:"keys"`
}

type settings struct {
	Namespaces []string `yaml:"namespaces"`
	Deep       [][]int  `yaml:"deep"`
}

func TestDecode(t *testing.T) {
	const text = `# a comment
name: "TPM \"CA\""
count: -12
confirm: false
tags: [a, 'b c', "12"]
keys:
    0123:
        namespaces:
            - git
    1.5: {deep: [[1, 2], []]}
`
	var got document
	if err := Decode([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	no := false
	want := document{
		Name: `TPM "CA"`, Count: -12, Confirm: &no, Tags: []string{"a", "b c", "12"},
		Keys: map[string]settings{"0123": {Namespaces: []string{"git"}}, "1.5": {Deep: [][]int{{1, 2}, {}}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeEmpty(t *testing.T) {
	for _, text := range []string{"", "\n", "# only a comment\n"} {
		got := document{Name: "kept"}
		if err := Decode([]byte(text), &got); err != nil || got.Name != "kept" {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "name: a\nnane: b\n", `line 2: unknown key "nane"; did you mean "name"?`},
		{"unknown key, nothing near", "other: b\n", `line 1: unknown key "other"`},
		{"nested unknown key", "keys:\n  a:\n    namespace: [git]\n", `line 3: unknown key "namespace"; did you mean "namespaces"?`},
		{"duplicate", "name: a\n\"name\": b\n", `line 2: key "name" is already in line 1`},
		{"duplicate in a map", "keys:\n  a: {}\n  a: {}\n", "line 3: key"},
		{"anchor", "name: &x a\n", "line 1: anchors and aliases"},
		{"alias", "keys:\n  a: &x {}\n  b: *x\n", "line 2: anchors and aliases"},
		{"undefined alias", "name: *x\n", "unknown anchor"},
		{"merge", "keys:\n  a: {}\n  <<: {}\n", "line 3: merge keys"},
		{"merge of a list", "<<: [{name: a}]\n", "line 1: merge keys"},
		{"tag", "name: !!str 5\n", `line 1: tag "!!str" is not allowed`},
		{"binary", "name: !!binary aGk=\n", "line 1: tag"},
		{"own tag", "name: !run x\n", "line 1: tag"},
		{"tagged map", "keys: !x {}\n", "line 1: tag"},
		{"tagged key", "!!str name: x\n", "line 1: tag"},
		{"second document", "name: a\n---\nname: b\n", "line 2: a second document"},
		{"empty second document", "name: a\n---\n", "a second document"},
		{"malformed second document", "name: a\n---\n{", "did not find expected node content"},
		{"null", "name: a\ncount:\n", "line 2: no value"},
		{"tilde", "name: ~\n", "line 1: no value"},
		{"null key", "~: a\n", "line 1: no value"},
		{"only a null", "---\n", "no value"},
		{"number for text", "name: 5\n", `line 1: "5" must be text: put quotes around it`},
		{"bool for text", "tags:\n- a\n- true\n", `line 3: "true" must be text`},
		{"date", "name: 2026-04-11\n", `line 1: "2026-04-11" is neither text`},
		{"fraction", "count: 1.5\n", `line 1: "1.5" is neither text`},
		{"infinity", "name: .inf\n", "line 1:"},
		{"octal", "count: 010\n", `line 1: "010" must be a whole decimal number`},
		{"hexadecimal", "count: 0x10\n", "must be a whole decimal number"},
		{"underscore", "count: 1_000\n", "must be a whole decimal number"},
		{"too large", "small: 128\n", "at most 8 bits"},
		{"too large for the library", "count: 99999999999999999999999\n", "line 1:"},
		{"text for number", "count: \"5\"\n", "must be a whole decimal number"},
		{"yes", "confirm: yes\n", `line 1: "yes" must be true or false`},
		{"capital", "confirm: True\n", `"True" must be true or false`},
		{"list for text", "name: [a]\n", "line 1: a list stands where there must be text"},
		{"map for list", "tags: {a: b}\n", "line 1: a map stands where there must be a list"},
		{"text for map", "keys: a\n", `line 1: "a" must be a map`},
		{"text for struct", "a\n", `line 1: "a" must be a map`},
		{"map as key", "? {a: b}\n: c\n", "line 1: a key must be text"},
		{"not UTF-8", "name: a\nname: \xff\n", "line 2: not UTF-8"},
		{"UTF-16", "\xff\xfen\x00", "line 1: not UTF-8"},
		{"byte order mark", "\ufeffname: a\n", "line 1: unprintable character U+FEFF"},
		{"bidi in a comment", "name: a\n# \u202e\n", "line 2: unprintable character U+202E"},
		{"escaped bidi", `name: "\u202e"`, "line 1: text has the unprintable character U+202E"},
		{"escaped bidi in a key", `"\u2066": a`, "line 1: text has the unprintable character U+2066"},
		{"escaped line feed", `name: "a\nb"`, "line 1: text has the unprintable character U+000A"},
		{"block text", "name: |\n  a\n  b\n", "text has the unprintable character U+000A"},
		{"control character", "name: a\x1b[0m\n", "line 1: unprintable character U+001B"},
		{"bare carriage return", "name: a\rcount: 1\n", "line 1: unprintable character U+000D"},
		{"unicode line end", "name: a\u2028count: 1\n", "line 1: unprintable character U+2028"},
		{"malformed", "name: [a\n", "line 1: did not find expected ',' or ']'"},
		{"malformed in the middle", "name: a\ncount: 1\nkeys:\n  a:\n    namespaces: []\n   b: {}\nsmall: 1\n", "line 6: did not find expected key"},
		{"colon in the first line", "name: a: b\n", "line 1: mapping values are not allowed"},
		{"quote without end", "name: a\ntags:\n- \"b\ncount: 1\n", "line 3: found unexpected end of stream"},
		{"tab", "keys:\n\ta: {}\n", "line 2: a tab in the indentation; use spaces"},
		{"tab after spaces", "keys:\n  \ta: {}\n", "line 2: a tab"},
		{"alias as a key", "keys:\n  &x a: {}\n  *x : {}\n", "line 2: anchors"},
		{"very deep", strings.Repeat("[", 200_000), "line 1: exceeded max depth"},
		{"very deep map", strings.Repeat("{a: ", 100_000), "line 1: exceeded max depth"},
		{"many nodes", "tags: [" + strings.Repeat("a,", 1_000_000), "line 1: more than 500000 lines and punctuation marks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var into document
			err := Decode([]byte(c.text), &into)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want %q", err, c.want)
			}
		})
	}
}

// TestErrors: all mistakes are told, each once, with its place.
func TestErrors(t *testing.T) {
	const text = `nane: a
name: "b\u202e"
count: &x "5"
tags: [1, a, *x]
keys:
    a: {deep: [[x, 1]]}
    b: !t {namespaces: [5]}
    <<: {}
    a: {}
name: c
---
second: 1
`
	want := []string{
		`1:1 unknown key "nane"; did you mean "name"?`,
		`2:7 text has the unprintable character U+202E`,
		`3:8 anchors and aliases are not allowed`,
		`4:8 "1" must be text: put quotes around it`,
		`4:14 anchors and aliases are not allowed`,
		`6:17 "x" must be a whole decimal number of at most 64 bits`,
		`7:8 tag "!t" is not allowed`,
		`8:5 merge keys are not allowed`,
		`9:5 key "a" is already in line 6`,
		`10:1 key "name" is already in line 2`,
		`11:1 a second document begins here`,
	}
	var into document
	err := Decode([]byte(text), &into)
	all, ok := errors.AsType[Errors](err)
	if !ok {
		t.Fatalf("%T: %v", err, err)
	}
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprintf("%d:%d %v", e.Line, e.Column, e.Err))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err.Error() != "line 1: "+all[0].Err.Error() || !errors.Is(err, all[3]) {
		t.Errorf("as one error: %v", err)
	}
	if into.Tags[1] != "a" || into.Keys["a"].Deep[0][1] != 1 {
		t.Errorf("what is right is not filled in: %+v", into)
	}
	if err := Decode([]byte(strings.Repeat("- a\n", 1000)), &struct{ A []int }{}); len(err.(Errors)) != 1 {
		t.Error(err)
	}
	deep := "keys: {a: {deep: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}}"
	if err := Decode([]byte(deep), &into); !strings.Contains(errors.Join(err.(Errors).Unwrap()...).Error(), "line 1: nested deeper than 32 levels") {
		t.Error(err)
	}
	var list []int
	if err := Decode([]byte(strings.Repeat("- a\n", 1000)), &list); len(err.(Errors)) != limits.YAMLMistakes {
		t.Error("no bound for mistakes")
	}
}

func TestLocated(t *testing.T) {
	var got struct {
		Names []Located[string]            `yaml:"names"`
		Keys  map[string]Located[settings] `yaml:"keys"`
		None  Located[int]                 `yaml:"none"`
	}
	const text = "names:\n  - a\n\n  - b\nkeys:\n  k: {namespaces: [git]}\n"
	if err := Decode([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := []Located[string]{{Value: "a", Line: 2, Column: 5}, {Value: "b", Line: 4, Column: 5}}
	if diff := cmp.Diff(want, got.Names); diff != "" {
		t.Error(diff)
	}
	if k := got.Keys["k"]; k.Line != 6 || len(k.Value.Namespaces) != 1 {
		t.Errorf("key %+v", k)
	}
	if got.None.Line != 0 {
		t.Errorf("absent value in line %d", got.None.Line)
	}
	err := Decode([]byte("keys:\n  k:\n    nmespaces: []\n"), &got)
	if err == nil || !strings.Contains(err.Error(), "line 3: unknown key") {
		t.Errorf("unknown key inside a Located: %v", err)
	}
}

// FuzzDecode checks that what is accepted means the same when the library
// writes it again.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"name: a\ncount: 1\nsmall: -1\nconfirm: true\ntags: [a, b]\n",
		"keys:\n  0123:\n    namespaces: [git, file]\n    deep: [[1], []]\n",
		"name: &x a\ntags: [*x]\n", "<<: {name: a}\n", "name: !!binary aGk=\n", "a\n---\nb\n",
		"name: \"\\u202e\"\n", "name: >-\n  folded\n  text\n", "? name\n: 'it''s'\n", "keys: {~: {}}\n",
		strings.Repeat("- ", 100), strings.Repeat("{a: ", 100), "%YAML 1.1\n---\nname: a\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var first, second document
		if Decode(data, &first) != nil {
			return
		}
		encoded, err := yaml.Marshal(struct {
			Name    string              `yaml:"name"`
			Count   int                 `yaml:"count"`
			Small   int8                `yaml:"small"`
			Confirm *bool               `yaml:"confirm,omitempty"`
			Tags    []string            `yaml:"tags"`
			Keys    map[string]settings `yaml:"keys"`
		}{first.Name, first.Count, first.Small, first.Confirm, first.Tags, first.Keys})
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(encoded, &second); err != nil {
			t.Fatalf("written again as %q: %v", encoded, err)
		}
		if diff := cmp.Diff(first, second, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("written again as %q: %s", encoded, diff)
		}
	})
}
