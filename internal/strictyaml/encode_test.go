package strictyaml

import (
	"strings"
	"testing"
)

type shop struct {
	Name  Located[string]      `yaml:"name"`
	Shelf Located[shelf]       `yaml:"shelf"`
	Goods []Located[good]      `yaml:"goods"`
	Tags  Located[[]textValue] `yaml:"tags"`
}

type shelf struct {
	Place Located[string] `yaml:"place"`
}

type good struct {
	ID    Located[string]      `yaml:"id"`
	Notes Located[[]textValue] `yaml:"notes"`
}

type textValue = Located[string]

const written = `---
# above all
name: "a \"b\" \\c – d" # beside name
# above shelf
shelf: # beside shelf
    place: "up"
goods:
    # above one
    - id: "one" # beside one
      # above notes
      notes: # beside notes
        # above n
        - "n" # beside n
        - "m"
    # above two
    - id: "two"
      notes: [] # none
tags:
    - "x"
# below all

# end
`

func TestEncode(t *testing.T) {
	var got Located[shop]
	if err := Decode([]byte(written), &got); err != nil {
		t.Fatal(err)
	}
	again, err := Encode(&got)
	if err != nil || string(again) != written {
		t.Errorf("%v; written as\n%s", err, again)
	}
	// Other spellings of the same.
	loose := `# above all
name: 'a "b" \c – d'   # beside name
# above shelf
shelf: {place: up}
goods:
  # above one
  - id: one # beside one
    # above notes
    notes: # beside notes
    # above n
    - n # beside n
    - m
  # above two
  - {id: two, notes: []}
tags: [x]
# below all

# end
`
	var other Located[shop]
	if err := Decode([]byte(loose), &other); err != nil {
		t.Fatal(err)
	}
	again, err = Encode(&other)
	want := strings.NewReplacer(" # none", "", "shelf: # beside shelf", "shelf:").Replace(written)
	if err != nil || string(again) != want {
		t.Errorf("%v; written as\n%s", err, again)
	}
	// Values that were never in a document; the others left out.
	made := shop{Name: textValue{Value: "n"}, Goods: []Located[good]{{Value: good{ID: textValue{Value: "i"}}}}}
	again, err = Encode(&made)
	if err != nil || string(again) != "---\nname: \"n\"\ngoods:\n    - id: \"i\"\n" {
		t.Errorf("%v; written as\n%s", err, again)
	}
}
