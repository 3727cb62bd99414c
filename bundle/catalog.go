package bundle

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/sealsmith/sealsmith/catalog"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/strictyaml"
)

// Catalog is a list of certificates: where each is published and what it must
// be. docs/spec/catalog.md describes its file.
type Catalog struct {
	Entries []Entry // at least one, in the order of the file
}

// Entry is one certificate of a catalog.
type Entry struct {
	Vendor      string // TCG vendor id
	Name        string // unique within the vendor
	Description string
	URL         string // https
	// Fingerprints are all digests that are pinned, the weakest hash first. A
	// certificate must have all of them.
	Fingerprints []Fingerprint
}

// catalogFile is the file's shape.
type catalogFile struct {
	Version text         `yaml:"version"`
	Vendors []vendorItem `yaml:"vendors"`
}

type vendorItem struct {
	ID           text              `yaml:"id"`
	Name         text              `yaml:"name"`
	Certificates []certificateItem `yaml:"certificates"`
}

type certificateItem struct {
	Name        text `yaml:"name"`
	Description text `yaml:"description"`
	URL         text `yaml:"url"`
	Validation  struct {
		Fingerprint struct {
			SHA1   text `yaml:"sha1"`
			SHA256 text `yaml:"sha256"`
			SHA384 text `yaml:"sha384"`
			SHA512 text `yaml:"sha512"`
		} `yaml:"fingerprint"`
	} `yaml:"validation"`
}

type text = strictyaml.Located[string]

// catalogVersion is the only version of the format.
const catalogVersion = "alpha"

// OwnCatalog is the catalog that comes with this program.
func OwnCatalog(k Kind) (*Catalog, error) {
	data := catalog.Roots()
	if k == Intermediates {
		data = catalog.Intermediates()
	}
	c, err := ParseCatalog(data)
	if err != nil {
		return nil, fmt.Errorf("own catalog of %s: %w", k, err)
	}
	return c, nil
}

// ParseCatalog reads a catalog. Errors begin with the line.
//
// An entry without a fingerprint stronger than SHA-1 is accepted here, so that
// old lists can be read; see [Entry.SHA1Only].
func ParseCatalog(data []byte) (*Catalog, error) {
	if len(data) > limits.BundleCatalog {
		return nil, fmt.Errorf("catalog has more than %d bytes", limits.BundleCatalog)
	}
	var file catalogFile
	if err := strictyaml.Decode(data, &file); err != nil {
		return nil, err
	}
	if file.Version.Value != catalogVersion {
		return nil, at(cmp.Or(file.Version.Line, 1), "version is %s, want %q", quote(file.Version.Value), catalogVersion)
	}
	p := catalogParser{first: map[string]int{}}
	for _, v := range file.Vendors {
		if err := p.vendor(v); err != nil {
			return nil, err
		}
	}
	if len(p.entries) == 0 {
		return nil, at(file.Version.Line, "the catalog lists no certificate")
	}
	return &Catalog{p.entries}, nil
}

// catalogParser checks what the YAML means.
type catalogParser struct {
	entries []Entry
	first   map[string]int // line of the first of all that must be unique
}

func (p *catalogParser) vendor(v vendorItem) error {
	line := cmp.Or(v.ID.Line, v.Name.Line, 1)
	if _, known := VendorName(v.ID.Value); !known {
		return at(line, "vendor id %s is not in the TCG registry", quote(v.ID.Value))
	}
	if err := checkText(v.Name.Value); err != nil {
		return at(cmp.Or(v.Name.Line, line), "vendor %s: name: %w", v.ID.Value, err)
	}
	if err := p.unique(line, "vendor "+v.ID.Value); err != nil {
		return err
	}
	for _, c := range v.Certificates {
		e, err := p.entry(v.ID.Value, c)
		if err != nil {
			return err
		}
		p.entries = append(p.entries, e)
	}
	return nil
}

func (p *catalogParser) entry(vendor string, c certificateItem) (Entry, error) {
	line := cmp.Or(c.Name.Line, c.URL.Line, 1)
	if err := checkText(c.Name.Value); err != nil {
		return Entry{}, at(line, "name of a certificate of %s: %w", vendor, err)
	}
	if c.Description.Line != 0 {
		if err := checkPrintable(c.Description.Value); err != nil {
			return Entry{}, at(c.Description.Line, "description: %w", err)
		}
	}
	if err := checkURL(c.URL.Value); err != nil {
		return Entry{}, at(cmp.Or(c.URL.Line, line), "url of %q: %w", c.Name.Value, err)
	}
	e := Entry{Vendor: vendor, Name: c.Name.Value, Description: c.Description.Value, URL: c.URL.Value}
	if err := p.fingerprints(&e, line, c); err != nil {
		return Entry{}, err
	}
	if err := p.unique(line, fmt.Sprintf("%s certificate %q", vendor, e.Name)); err != nil {
		return Entry{}, err
	}
	return e, p.unique(c.URL.Line, "url "+e.URL)
}

func (p *catalogParser) fingerprints(e *Entry, line int, c certificateItem) error {
	pins := c.Validation.Fingerprint
	for _, pin := range []struct {
		hash crypto.Hash
		text text
	}{{crypto.SHA1, pins.SHA1}, {crypto.SHA256, pins.SHA256}, {crypto.SHA384, pins.SHA384}, {crypto.SHA512, pins.SHA512}} {
		if pin.text.Line == 0 {
			continue
		}
		f, err := parseFingerprint(pin.hash, pin.text.Value)
		if err != nil {
			return at(pin.text.Line, "%w", err)
		}
		if err := p.unique(pin.text.Line, fmt.Sprintf("%v fingerprint %v", f.Hash, f)); err != nil {
			return err
		}
		e.Fingerprints = append(e.Fingerprints, f)
	}
	if len(e.Fingerprints) == 0 {
		return at(line, "certificate %q has no fingerprint", e.Name)
	}
	return nil
}

func (p *catalogParser) unique(line int, what string) error {
	if first, seen := p.first[what]; seen {
		return at(line, "%s is already in line %d", what, first)
	}
	p.first[what] = line
	return nil
}

// checkURL allows one spelling of an https URL without credentials.
func checkURL(s string) error {
	if len(s) > limits.BundleText {
		return fmt.Errorf("longer than %d bytes", limits.BundleText)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return errors.New("not a URL") // which may hold a password: not repeated
	case u.User != nil:
		return errors.New("credentials in a URL")
	case u.Scheme != "https":
		return fmt.Errorf("%s is not https", quote(s))
	case u.Hostname() == "" || u.Host != strings.ToLower(u.Host):
		return fmt.Errorf("%s has no lower-case host", quote(s))
	case u.Fragment != "" || u.String() != s:
		return fmt.Errorf("%s is not in normal form; want %s", quote(s), quote(u.String()))
	}
	return nil
}

// at is an error in a line of the catalog.
func at(line int, format string, args ...any) error {
	return &strictyaml.Error{Line: line, Err: fmt.Errorf(format, args...)}
}

// SHA1Only says that nothing stronger than SHA-1 is pinned: who can make two
// certificates with one SHA-1 digest can choose between them.
func (e Entry) SHA1Only() bool {
	return len(e.Fingerprints) == 1 && e.Fingerprints[0].Hash == crypto.SHA1
}

// pin returns the pinned digest of one hash.
func (e Entry) pin(h crypto.Hash) (Fingerprint, bool) {
	for _, f := range e.Fingerprints {
		if f.Hash == h {
			return f, true
		}
	}
	return Fingerprint{}, false
}

// check says which pinned digest the certificate does not have.
func (e Entry) check(der []byte) error {
	for _, pin := range e.Fingerprints {
		if got := fingerprint(pin.Hash, der); got.String() != pin.String() {
			return &mismatchError{pin, got}
		}
	}
	return nil
}

type mismatchError struct{ want, got Fingerprint }

func (e *mismatchError) Error() string {
	return fmt.Sprintf("another certificate: its %v digest is %v, pinned is %v", e.want.Hash, e.got, e.want)
}

// Disjoint says whether two catalogs share a URL or a certificate. A
// certificate is a root or an intermediate, not both.
func Disjoint(a, b *Catalog) error {
	in := map[string]Entry{}
	for _, e := range a.Entries {
		for _, k := range e.keys() {
			in[k] = e
		}
	}
	for _, e := range b.Entries {
		for _, k := range e.keys() {
			if other, both := in[k]; both {
				return fmt.Errorf("%s certificate %q and %s certificate %q have the same %s",
					other.Vendor, other.Name, e.Vendor, e.Name, k)
			}
		}
	}
	return nil
}

// keys are the properties that no two entries share.
func (e Entry) keys() []string {
	keys := []string{"url " + e.URL}
	for _, f := range e.Fingerprints {
		keys = append(keys, fmt.Sprintf("%v fingerprint %v", f.Hash, f))
	}
	return keys
}
