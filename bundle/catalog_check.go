package bundle

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/internal/strictyaml"
)

// CatalogFile is a file that may be a catalog.
type CatalogFile struct {
	Name string // for messages
	Data []byte
}

// CatalogFinding is something that is wrong with a catalog.
type CatalogFinding struct {
	File     string // as in [CatalogFile]
	Line     int    // from 1
	Column   int    // from 1, in characters; 0: the whole line
	Rule     string // stable id
	Severity Severity
	Text     string // what is wrong, in one line of printable text
}

// String is the finding in one line, in the form that editors know.
func (f CatalogFinding) String() string {
	place := fmt.Sprintf("%s:%d", f.File, f.Line)
	if f.Column > 0 {
		place += fmt.Sprintf(":%d", f.Column)
	}
	return fmt.Sprintf("%s: %s: %s [%s]", place, f.Severity, f.Text, f.Rule)
}

// CheckCatalogs tells all that is wrong with catalogs that are used together, in the
// order of the files and of their lines. Errors forbid to use a catalog. Warnings are
// for certificates that only SHA-1 identifies, which no build takes unless told to
// (rule sha1-pin), and for files that are not as [FormatCatalog] writes them (rules
// order, normal-form).
func CheckCatalogs(files ...CatalogFile) []CatalogFinding {
	var all []CatalogFinding
	in := entryIndex{}
	from := map[string]string{} // the file of each key in the index
	for _, file := range files {
		r := readCatalog(file.Data)
		if len(r.findings) == 0 {
			r.findings = append(r.sha1Pins(), r.form(file.Data)...)
		}
		for _, e := range r.entries {
			if other, what := in.find(e); what != "" {
				r.report(e.Line, 0, "duplicate", "%s is already in %s, line %d", what, from[what], other.Line)
			}
		}
		for _, e := range r.entries {
			in.add(e)
			for _, k := range e.keys() {
				from[k] = file.Name
			}
		}
		slices.SortStableFunc(r.findings, func(a, b CatalogFinding) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		for _, f := range r.findings {
			f.File = file.Name
			all = append(all, f)
		}
	}
	return all
}

func (r *catalogReader) sha1Pins() []CatalogFinding {
	var all []CatalogFinding
	for _, e := range r.entries {
		if e.SHA1Only() {
			all = append(all, CatalogFinding{Line: e.Line, Rule: ruleSHA1Pin, Severity: Warning,
				Text: fmt.Sprintf("%s certificate %q is pinned by SHA-1 only; add its SHA-256", e.Vendor, e.Name)})
		}
	}
	return all
}

// form compares a catalog without mistakes with its normal form.
func (r *catalogReader) form(data []byte) []CatalogFinding {
	var all []CatalogFinding
	warn := func(line int, rule, format string, args ...any) {
		all = append(all, CatalogFinding{Line: line, Rule: rule, Severity: Warning, Text: fmt.Sprintf(format, args...)})
	}
	vendors := r.document.Value.Vendors.Value
	for i := range vendors {
		if i > 0 && vendors[i].Value.ID.Value < vendors[i-1].Value.ID.Value {
			warn(vendors[i].Line, "order", "vendor %s stands after %s", vendors[i].Value.ID.Value, vendors[i-1].Value.ID.Value)
		}
	}
	for i, e := range r.entries {
		if i > 0 && e.Vendor == r.entries[i-1].Vendor && e.Name < r.entries[i-1].Name {
			warn(e.Line, "order", "%s certificate %q stands after %q", e.Vendor, e.Name, r.entries[i-1].Name)
		}
	}
	if len(all) > 0 {
		return all // sorting changes most lines
	}
	want, err := r.format(data)
	if err != nil {
		line := 1
		if at, ok := errors.AsType[strictyaml.Errors](err); ok {
			line, err = at[0].Line, at[0].Err
		}
		warn(line, "normal-form", "%v", err)
		return all
	}
	if line, old, normal := firstDifference(data, want); line > 0 {
		warn(line, "normal-form", "%s stands where the normal form %s", quote(old), normal)
	}
	return all
}

// firstDifference is the first line in which a file is not as it should be, and what
// that should be; 0: there is none.
func firstDifference(data, want []byte) (line int, old, normal string) {
	wanted := bytes.SplitAfter(want, []byte("\n")) // the last is empty
	for i, text := range bytes.SplitAfter(data, []byte("\n")) {
		if bytes.Equal(text, wanted[i]) {
			continue
		}
		old, normal := strings.TrimSuffix(string(text), "\n"), strings.TrimSuffix(string(wanted[i]), "\n")
		switch {
		case len(wanted[i]) == 0:
			return i + 1, old, "ends"
		case old == normal:
			return i + 1, old, "has a line feed behind it"
		}
		return i + 1, old, "has " + quote(normal)
	}
	return 0, "", ""
}
