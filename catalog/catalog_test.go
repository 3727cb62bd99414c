package catalog

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The strict reader is package bundle, which checks this catalog, too; here the
// text alone is looked at.
func TestLists(t *testing.T) {
	seen := map[string]string{}
	for name, list := range map[string]struct {
		text string
		want int
	}{"roots": {string(Roots()), 26}, "intermediates": {string(Intermediates()), 143}} {
		for _, key := range []string{"url", "sha1", "sha256"} {
			values := regexp.MustCompile(`(?m)^ +`+key+`: "(.*)"$`).FindAllStringSubmatch(list.text, -1)
			if len(values) != list.want {
				t.Errorf("%s: %d values of %s, want %d", name, len(values), key, list.want)
			}
			for _, v := range values {
				if other := seen[v[1]]; other != "" {
					t.Errorf("%s %s is in %s and %s", key, v[1], other, name)
				}
				seen[v[1]] = name
			}
		}
		var vendors []string
		for section := range strings.SplitSeq(list.text, "    - id: ") {
			vendor, entries, _ := strings.Cut(section, "\n")
			var names []string
			for _, m := range regexp.MustCompile(`(?m)^ +- name: "(.*)"$`).FindAllStringSubmatch(entries, -1) {
				names = append(names, m[1])
			}
			if !slices.IsSorted(names) || len(slices.Compact(names)) != len(names) {
				t.Errorf("%s: names of %s are not sorted or not unique", name, vendor)
			}
			vendors = append(vendors, vendor)
		}
		if vendors = vendors[1:]; len(vendors) < 7 || !slices.IsSorted(vendors) {
			t.Errorf("%s: vendors %v are not sorted, or some are missing", name, vendors)
		}
	}
}
