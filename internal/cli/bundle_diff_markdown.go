package cli

import (
	"fmt"
	"strings"

	"github.com/sealsmith/sealsmith/bundle"
)

// markdown writes what changed as release notes. All that a catalog or certificate
// says is in code spans, where nothing means anything to Markdown: no link, HTML or
// mention of a person.
func (d *bundleDiff) markdown() (string, error) {
	var out strings.Builder
	fmt.Fprintf(&out, "## TPM CA certificates of %s\n\nSince %s: %s.\n", datesText(d.after), datesText(d.before), d.summary())
	var typ bundle.ChangeType
	for _, c := range d.changes {
		if c.Type != typ {
			typ = c.Type
			fmt.Fprintf(&out, "\n### %s\n\n", strings.ToUpper(string(typ[:1]))+string(typ[1:]))
		}
		m := subjectOf(c)
		vendor, _ := bundle.VendorName(m.Vendor) // which every bundle's vendor has
		details, err := changeDetails(c, true, codeSpan)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "- %s, %s %s: %s\n", vendor, kindText(m.Kind), codeSpan(m.Name), strings.Join(details, ", "))
	}
	return out.String(), nil
}

// codeSpan writes text as a code span of CommonMark (section 6.1): between more
// backticks than it has in a row, and with the one space at each end that is taken
// away.
func codeSpan(text string) string {
	longest, run := 0, 0
	for _, r := range text {
		run++
		if r != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	if longest == 0 {
		return "`" + text + "`"
	}
	fence := strings.Repeat("`", longest+1)
	return fence + " " + text + " " + fence
}
