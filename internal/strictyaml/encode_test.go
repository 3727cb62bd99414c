package strictyaml

import (
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
	if err := DecodeCommented([]byte(written), &got); err != nil {
		t.Fatal(err)
	}
	if again := Encode(&got); string(again) != written {
		t.Errorf("written as\n%s", again)
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
	if err := DecodeCommented([]byte(loose), &other); err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(" # none", "", "shelf: # beside shelf", "shelf:").Replace(written)
	if again := Encode(&other); string(again) != want {
		t.Errorf("written as\n%s", again)
	}
	// Values that were never in a document; the others left out.
	made := shop{Name: textValue{Value: "n"}, Goods: []Located[good]{{Value: good{ID: textValue{Value: "i"}}}}}
	if again := Encode(&made); string(again) != "---\nname: \"n\"\ngoods:\n    - id: \"i\"\n" {
		t.Errorf("written as\n%s", again)
	}
}

func TestCommentLines(t *testing.T) {
	const text = "# a\nb: c # d\n  # e\ne: 'it''s # no' # f\ng: \"x \\\" # no\"\nh: a#b\ni: it's # g\nj: [\"# no\", '# no'] # h\r\nk: {l: \"# no\"}\n#\n"
	want := []string{"# a", "# d", "# e", "# f", "# g", "# h", "#"}
	if diff := cmp.Diff(want, CommentLines([]byte(text))); diff != "" {
		t.Error(diff)
	}
}

// TestManyComments: they cost memory in proportion to their number.
func TestManyComments(t *testing.T) {
	type document = Located[struct {
		List Located[[]Located[string]] `yaml:"list"`
	}]
	const count = 20_000
	for name, parts := range map[string][3]string{
		"before the document": {strings.Repeat("# x\n", count) + "---\n", "", ""},
		"of the document":     {"---\n" + strings.Repeat("# x\n", count) + "\n", "", ""},
		"above":               {"---\n", strings.Repeat("    # x\n", count), ""},
		"below":               {"---\n", "", strings.Repeat("      # x\n", count)},
		"at the end":          {"---\n", "", strings.Repeat("# x\n", count)},
	} {
		t.Run(name, func(t *testing.T) {
			text := parts[0] + "list:\n" + parts[1] + "    - \"a\"\n" + parts[2]
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var d document
			if err := DecodeCommented([]byte(text), &d); err != nil {
				t.Fatal(err)
			}
			out := Encode(&d)
			runtime.ReadMemStats(&after)
			if lines := CommentLines(out); len(lines) != count {
				t.Errorf("%d comments of %d", len(lines), count)
			}
			// It is 7 MB, 190 with the race detector; a copy of all for each would be 800.
			if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 400 {
				t.Errorf("%d MB allocated", allocated)
			}
		})
	}
}

// TestManyTextsInALine: they cost memory in proportion to their number.
func TestManyTextsInALine(t *testing.T) {
	for _, one := range []string{`"a\"b#"`, `'a''b#'`} {
		text := "list: [" + strings.Repeat(one+", ", 10_000) + "] # end\n"
		var d Located[struct {
			List Located[[]Located[string]] `yaml:"list"`
		}]
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := DecodeCommented([]byte(text), &d); err != nil || d.Value.List.Beside != "# end" {
			t.Fatal(err, d.Value.List.Beside)
		}
		runtime.ReadMemStats(&after)
		if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 100 {
			t.Errorf("%d MB allocated", allocated)
		}
	}
}
