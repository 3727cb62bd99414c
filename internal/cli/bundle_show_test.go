package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestBundleJSON: the examples in the document have the fields that are printed, all
// of them, in their order.
func TestBundleJSON(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "spec", "bundle-json.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```json\n")
	diff, rest, _ := strings.Cut(rest, "```\n")
	_, rest, _ = strings.Cut(rest, "```json\n")
	show, _, _ := strings.Cut(rest, "```\n")
	for text, v := range map[string]any{diff: new(diffJSON), show: new(showJSON)} {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(v); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := (&app{Streams: Streams{Out: &out}}).printJSON(v); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text, out.String()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestTreeWidth: what has no room beside a name is below it, and the lines that
// lead to other certificates go on beside it.
func TestTreeWidth(t *testing.T) {
	tr := tree{lines: []treeLine{
		{text: "title"},
		{text: "├─ Root ä", below: "│  │  ", key: "P-384", until: "2040-01-01", marks: []string{"warning one", "two"}},
		{text: "│  └─ A CA", below: "│     ", key: "RSA-2048", until: "2041-01-01"},
	}}
	for width, want := range map[int]string{
		0: `
title
├─ Root ä   P-384     2040-01-01  warning one, two
│  └─ A CA  RSA-2048  2041-01-01
`,
		50: `
title
├─ Root ä   P-384     2040-01-01  warning one, two
│  └─ A CA  RSA-2048  2041-01-01
`,
		49: `
title
├─ Root ä   P-384     2040-01-01
│  │  warning one, two
│  └─ A CA  RSA-2048  2041-01-01
`,
		31: `
title
├─ Root ä
│  │  P-384  2040-01-01
│  │  warning one, two
│  └─ A CA
│     RSA-2048  2041-01-01
`,
	} {
		var out strings.Builder
		out.WriteString("\n")
		if err := tr.print(&out, width); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("width %d: %s", width, diff)
		}
	}
}
