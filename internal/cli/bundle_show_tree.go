package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/sealsmith/sealsmith/bundle"
)

// printTree prints the roots by vendor, then what has no root here.
func (a *app) printTree(s *shown) error {
	forest := s.prune(s.graph.Forest())
	var t tree
	t.plain(s.title())
	vendors := map[string][]bundle.Branch{}
	var ids, issuers []string
	orphans := map[string][]bundle.Branch{}
	for _, b := range forest {
		m := s.members[b.Index]
		if m.Kind == bundle.Roots {
			ids = append(ids, m.Vendor)
			vendors[m.Vendor] = append(vendors[m.Vendor], b)
			continue
		}
		issuer := s.texts[b.Index].Issuer
		issuers = append(issuers, issuer)
		orphans[issuer] = append(orphans[issuer], b)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		heading := id
		if name, _ := bundle.VendorName(id); name != id {
			heading = name + " (" + id + ")"
		}
		t.plain("", heading)
		s.grow(&t, vendors[id], "", id)
	}
	slices.Sort(issuers)
	for _, issuer := range slices.Compact(issuers) {
		t.plain("", "not in these bundles: "+issuer)
		s.grow(&t, orphans[issuer], "", "")
	}
	t.plain(s.remarks()...)
	return t.print(a.Out, a.width())
}

// prune keeps the branches on which a certificate of the vendors is.
func (s *shown) prune(branches []bundle.Branch) []bundle.Branch {
	var kept []bundle.Branch
	for _, b := range branches {
		b.Issued = s.prune(b.Issued)
		if len(b.Issued) > 0 || s.vendors.wants(s.members[b.Index].Vendor) {
			kept = append(kept, b)
		}
	}
	return kept
}

// title says what is shown.
func (s *shown) title() string {
	counts := map[bundle.Kind]int{}
	for _, m := range s.members {
		if s.vendors.wants(m.Vendor) {
			counts[m.Kind]++
		}
	}
	of := ""
	if len(s.vendors) > 0 {
		of = " of " + strings.Join(s.vendors, ", ")
	}
	var parts []string
	for _, kind := range bundle.Kinds() {
		what := string(kind)
		if counts[kind] == 1 {
			what = kindText(kind)
		}
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], what))
	}
	return fmt.Sprintf("TPM CA certificates of %s: %s%s", datesText(s.bundles), strings.Join(parts, ", "), of)
}

// remarks are the lines below the tree: what ends first, and the findings that are
// more than good to know.
func (s *shown) remarks() []string {
	var first *bundle.Member
	for i, m := range s.members {
		if s.vendors.wants(m.Vendor) && m.X509.NotAfter.After(s.at) && (first == nil || m.X509.NotAfter.Before(first.X509.NotAfter)) {
			first = &s.members[i]
		}
	}
	var lines []string
	if first != nil {
		lines = append(lines, "", fmt.Sprintf("next to expire: %s %q on %s", first.Vendor, first.Name, day(first.X509.NotAfter)))
	}
	separated := false
	for _, f := range s.findings {
		if f.Severity == bundle.Info {
			continue
		}
		if !separated {
			lines = append(lines, "")
			separated = true
		}
		lines = append(lines, f.String())
	}
	return lines
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// grow adds the lines of branches, whose lines begin with prefix; the certificates
// on top have no lines that lead to them.
func (s *shown) grow(t *tree, branches []bundle.Branch, prefix, vendor string) {
	for k, b := range branches {
		lead, below := prefix+"├─ ", prefix+"│  "
		if k == len(branches)-1 {
			lead, below = prefix+"└─ ", prefix+"   "
		}
		m := s.members[b.Index]
		l := treeLine{text: lead + m.Name, below: below, key: s.texts[b.Index].Key, until: day(m.X509.NotAfter)}
		if len(b.Issued) > 0 {
			l.below += "│  "
		}
		if vendor != "" && m.Vendor != vendor {
			l.text += " (" + m.Vendor + ")"
		}
		if m.Kind == bundle.Roots && prefix != "" {
			l.marks = append(l.marks, "root")
		}
		for _, f := range s.about(b.Index) {
			l.marks = append(l.marks, mark(f))
		}
		if b.Elsewhere {
			l.marks = append(l.marks, "issued more: see its other place")
		}
		t.lines = append(t.lines, l)
		s.grow(t, b.Issued, below, vendor)
	}
}

// mark is a finding in short.
func mark(f bundle.Finding) string {
	if f.Severity == bundle.Info {
		return f.Rule
	}
	return string(f.Severity) + " " + f.Rule
}

// tree is text with the columns key, last day and marks.
type tree struct{ lines []treeLine }

type treeLine struct {
	text       string
	below      string // how a second line begins
	key, until string
	marks      []string
}

// plain adds lines without columns.
func (t *tree) plain(lines ...string) {
	for _, line := range lines {
		t.lines = append(t.lines, treeLine{text: line})
	}
}

// print fits the lines into a width; 0 is any. What has no room beside a name is
// below it.
func (t *tree) print(w io.Writer, width int) error {
	text, key := 0, 0
	for _, l := range t.lines {
		if l.key != "" {
			text = max(text, utf8.RuneCountInString(l.text))
			key = max(key, len(l.key))
		}
	}
	narrow := width > 0 && text+2+key+2+len(time.DateOnly) > width
	for _, l := range t.lines {
		if l.key == "" {
			fmt.Fprintln(w, l.text)
			continue
		}
		marks := strings.Join(l.marks, ", ")
		line := fmt.Sprintf("%-*s  %-*s  %s", text, l.text, key, l.key, l.until)
		if narrow {
			fmt.Fprintln(w, l.text)
			line = fmt.Sprintf("%s%s  %s", l.below, l.key, l.until)
		}
		if marks != "" && width > 0 && utf8.RuneCountInString(line)+2+len(marks) > width {
			fmt.Fprintln(w, line)
			line = l.below + marks
		} else if marks != "" {
			line += "  " + marks
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// width is that of the terminal that standard output is, or 0.
func (a *app) width() int {
	if sticky, ok := a.Out.(*stickyWriter); ok {
		if f, ok := sticky.Writer.(*os.File); ok {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil {
				return width
			}
		}
	}
	return 0
}
