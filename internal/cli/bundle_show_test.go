package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
