package strictyaml

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestText: text stands for a struct that has a field for it.
func TestText(t *testing.T) {
	type entry struct {
		Path string   `yaml:"path" text:"true"`
		Keys []string `yaml:"keys"`
	}
	var got struct {
		List []Located[entry] `yaml:"list"`
	}
	if err := Decode([]byte("list:\n  - a\n  - {path: b, keys: [c]}\n"), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Located[entry]{{Value: entry{"a", nil}, Line: 2, Column: 5}, {Value: entry{"b", []string{"c"}}, Line: 3, Column: 5}}, got.List); diff != "" {
		t.Error(diff)
	}
	var plain struct {
		Map struct{} `yaml:"map"`
	}
	for _, text := range []string{"list:\n  - 1\n", "list:\n  - [a]\n", "list:\n  - true\n"} {
		if err := Decode([]byte(text), &got); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
	if err := Decode([]byte("map: a\n"), &plain); err == nil {
		t.Error("text in place of a map")
	}
}
