package bundle

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/strictyaml"
)

// The versions of the format: they differ in the name of one key.
const (
	catalogAlpha = "alpha" // url
	catalogBeta  = "beta"  // uri
)

// catalogDocument is a catalog's file, with its comments. The fields have the order
// of the normal form.
type catalogDocument = strictyaml.Located[catalogFile]

type catalogFile struct {
	Version text             `yaml:"version"`
	Vendors list[vendorItem] `yaml:"vendors"`
}

type vendorItem struct {
	ID           text                  `yaml:"id"`
	Name         text                  `yaml:"name"`
	Certificates list[certificateItem] `yaml:"certificates"`
}

type certificateItem struct {
	Name        text                           `yaml:"name"`
	Description text                           `yaml:"description"`
	URL         text                           `yaml:"url"`
	URI         text                           `yaml:"uri"`
	Status      text                           `yaml:"status"`
	Evidence    list[string]                   `yaml:"evidence"`
	Exceptions  list[string]                   `yaml:"exceptions"`
	Notes       text                           `yaml:"notes"`
	Validation  strictyaml.Located[validation] `yaml:"validation"`
}

type validation struct {
	Fingerprint strictyaml.Located[fingerprintItem] `yaml:"fingerprint"`
}

type fingerprintItem struct {
	SHA1   text `yaml:"sha1"`
	SHA256 text `yaml:"sha256"`
	SHA384 text `yaml:"sha384"`
	SHA512 text `yaml:"sha512"`
}

// pins are the fingerprints with their hashes, the weakest first.
func (f *fingerprintItem) pins() []pinItem {
	return []pinItem{{crypto.SHA1, &f.SHA1}, {crypto.SHA256, &f.SHA256}, {crypto.SHA384, &f.SHA384}, {crypto.SHA512, &f.SHA512}}
}

type pinItem struct {
	hash crypto.Hash
	text *text
}

type (
	text        = strictyaml.Located[string]
	list[T any] = strictyaml.Located[[]strictyaml.Located[T]]
)

// catalogReader checks what the YAML means. It goes on after a mistake.
type catalogReader struct {
	document catalogDocument
	entries  []Entry // those without mistakes
	findings []CatalogFinding
	beta     bool
	first    map[string]int // line of the first of all that must be unique
	broken   map[int]bool   // lines that cannot be understood as they are
}

// readCatalog reads a file. Its findings are errors in the order of the lines; if there
// are none, the document and the entries are whole.
func readCatalog(data []byte) *catalogReader {
	r := &catalogReader{first: map[string]int{}, broken: map[int]bool{}}
	if len(data) > limits.BundleCatalog {
		r.report(1, 0, "size", "the catalog has more than %d bytes", limits.BundleCatalog)
		return r
	}
	err := strictyaml.Decode(data, &r.document)
	mistakes, _ := errors.AsType[strictyaml.Errors](err)
	for _, e := range mistakes {
		r.report(e.Line, e.Column, "yaml", "%v", e.Err)
	}
	for _, e := range mistakes {
		r.broken[e.Line] = true
	}
	if r.document.Line == 0 {
		if len(mistakes) == 0 {
			r.report(1, 0, "empty", "the catalog is empty")
		}
		return r
	}
	r.file()
	slices.SortStableFunc(r.findings, func(a, b CatalogFinding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r
}

// report notes a mistake. What cannot be understood was reported already.
func (r *catalogReader) report(line, column int, rule, format string, args ...any) {
	if !r.broken[line] && len(r.findings) < limits.CatalogFindings {
		r.findings = append(r.findings, CatalogFinding{
			Line: line, Column: column, Rule: rule, Severity: Error, Text: fmt.Sprintf(format, args...),
		})
	}
}

// whole says that the lines from one to before another were understood: only then
// is it sure that what is missing is not there in another spelling.
func (r *catalogReader) whole(from, to int) bool {
	for line := range r.broken {
		if line >= from && line < to {
			return false
		}
	}
	return true
}

func (r *catalogReader) file() {
	f := &r.document.Value
	switch version := f.Version; {
	case version.Line == 0:
		if r.whole(0, math.MaxInt) {
			r.report(r.document.Line, 1, "version", "the catalog names no version; want version: %q", catalogAlpha)
		}
	case version.Value == catalogBeta:
		r.beta = true
	case version.Value != catalogAlpha:
		r.report(version.Line, version.Column, "version", "version is %s, want %q or %q", quote(version.Value), catalogAlpha, catalogBeta)
	}
	certificates := 0
	for i, v := range f.Vendors.Value {
		r.vendor(v, after(f.Vendors.Value, i, math.MaxInt))
		certificates += len(v.Value.Certificates.Value)
	}
	if certificates == 0 && r.whole(0, math.MaxInt) {
		r.report(cmp.Or(f.Vendors.Line, r.document.Line), 0, "empty", "the catalog lists no certificate")
	}
}

// after is the line of the element after element i, or end.
func after[T any](all []strictyaml.Located[T], i, end int) int {
	if i+1 < len(all) {
		return all[i+1].Line
	}
	return end
}

func (r *catalogReader) vendor(item strictyaml.Located[vendorItem], end int) {
	v := item.Value
	whole := r.whole(item.Line, after(v.Certificates.Value, -1, end))
	r.mustText(v.Name, item.Line, whole, "name of vendor "+quote(v.ID.Value))
	_, known := VendorName(v.ID.Value)
	switch {
	case v.ID.Line == 0 && whole:
		r.report(item.Line, item.Column, "vendor", "the vendor has no id")
	case v.ID.Line != 0 && !known:
		r.report(v.ID.Line, v.ID.Column, "vendor", "vendor id %s is not in the TCG registry", quote(v.ID.Value))
	case v.ID.Line != 0:
		r.unique(v.ID, "vendor "+v.ID.Value)
	}
	for i, c := range v.Certificates.Value {
		r.certificate(v.ID.Value, c, after(v.Certificates.Value, i, end))
	}
}

func (r *catalogReader) certificate(vendor string, item strictyaml.Located[certificateItem], end int) {
	before := len(r.findings)
	c := item.Value
	whole := r.whole(item.Line, end)
	if r.mustText(c.Name, item.Line, whole, "name of a certificate of "+vendor) {
		r.unique(c.Name, fmt.Sprintf("%s certificate %q", vendor, c.Name.Value))
	}
	r.note(c.Description, "description")
	r.note(c.Notes, "notes")
	e := Entry{
		Vendor: vendor, Name: c.Name.Value, Description: c.Description.Value, URL: r.address(item, whole),
		Status: r.status(c.Status), Evidence: r.evidence(c.Evidence), Exceptions: r.each(c.Exceptions, "exception", CheckException),
		Notes: c.Notes.Value, Line: item.Line,
	}
	for _, pin := range c.Validation.Value.Fingerprint.Value.pins() {
		if pin.text.Line != 0 {
			e.Fingerprints = append(e.Fingerprints, r.fingerprint(pin))
		}
	}
	if len(e.Fingerprints) == 0 && whole {
		r.report(item.Line, item.Column, "fingerprint", "certificate %s has no fingerprint", quote(c.Name.Value))
	}
	if len(r.findings) == before && whole {
		r.entries = append(r.entries, e)
	}
}

// mustText checks text that must be there, and says whether it is.
func (r *catalogReader) mustText(t text, line int, whole bool, what string) bool {
	if t.Line == 0 {
		if whole {
			r.report(line, 0, "name", "%s is missing", what)
		}
		return false
	}
	if err := checkText(t.Value); err != nil {
		r.report(t.Line, t.Column, "name", "%s: %v", what, err)
	}
	return true
}

// note checks text for people that may be left out.
func (r *catalogReader) note(t text, what string) {
	switch {
	case t.Line != 0 && t.Value == "":
		r.report(t.Line, t.Column, "text", "%s is empty; leave the key out instead", what)
	case len(t.Value) > limits.CatalogNote:
		r.report(t.Line, t.Column, "text", "%s is longer than %d bytes", what, limits.CatalogNote)
	}
}

// address reads where a certificate is published.
func (r *catalogReader) address(item strictyaml.Located[certificateItem], whole bool) string {
	c := item.Value
	address, other, name, otherName := c.URL, c.URI, "url", "uri"
	if r.beta {
		address, other, name, otherName = other, address, otherName, name
	}
	if other.Line != 0 {
		r.report(other.Line, 0, "yaml", "key %q is of another version of the format; this one has %q", otherName, name)
		return ""
	}
	if address.Line == 0 {
		if whole {
			r.report(item.Line, item.Column, "url", "certificate %s has no %s", quote(c.Name.Value), name)
		}
		return ""
	}
	if err := checkURL(address.Value); err != nil {
		r.report(address.Line, address.Column, "url", "%s of %s: %v", name, quote(c.Name.Value), err)
	}
	r.unique(address, "url "+address.Value)
	return address.Value
}

func (r *catalogReader) status(t text) Status {
	switch s := Status(t.Value); {
	case t.Line == 0:
		return Current
	case s != Current && s != Historic:
		r.report(t.Line, t.Column, "status", "status %s is neither %q nor %q", quote(t.Value), Current, Historic)
	}
	return Status(t.Value)
}

func (r *catalogReader) evidence(links list[string]) []string {
	if n := len(links.Value); n > limits.CatalogEvidence {
		r.report(links.Line, 0, "evidence", "%d links; want at most %d", n, limits.CatalogEvidence)
	}
	return r.each(links, "evidence", CheckEvidence)
}

// each reads a list of texts that pass a check, each once.
func (r *catalogReader) each(texts list[string], rule string, check func(string) error) []string {
	var all []string
	for _, t := range texts.Value {
		if err := check(t.Value); err != nil {
			r.report(t.Line, t.Column, rule, "%v", err)
		}
		if slices.Contains(all, t.Value) {
			r.report(t.Line, t.Column, "duplicate", "%s %s is here twice", rule, quote(t.Value))
		}
		all = append(all, t.Value)
	}
	return all
}

func (r *catalogReader) fingerprint(pin pinItem) Fingerprint {
	f, err := parseFingerprint(pin.hash, pin.text.Value)
	if err != nil {
		r.report(pin.text.Line, pin.text.Column, "fingerprint", "%v", err)
		return f
	}
	r.unique(*pin.text, fmt.Sprintf("%v fingerprint %v", f.Hash, f))
	return f
}

func (r *catalogReader) unique(t text, what string) {
	if first, seen := r.first[what]; seen {
		r.report(t.Line, t.Column, "duplicate", "%s is already in line %d", what, first)
		return
	}
	r.first[what] = t.Line
}
