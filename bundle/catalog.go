package bundle

import (
	"cmp"
	"crypto"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/sealsmith/sealsmith/catalog"
	"github.com/sealsmith/sealsmith/internal/hint"
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
	// Status says whether the vendor still stands by the certificate; "" is
	// [Current].
	Status Status
	// Evidence are https URLs of what shows that the certificate is the vendor's.
	Evidence []string
	// Exceptions are the ids of rules whose findings are known and accepted, of
	// [ExceptionRules].
	Exceptions []string
	Notes      string // for people
	// Fingerprints are all digests that are pinned, the weakest hash first. A
	// certificate must have all of them.
	Fingerprints []Fingerprint
	Line         int // in the file, from 1; 0: the entry is from no file
}

// Status is what a certificate is good for.
type Status string

// The statuses.
const (
	// Current is a CA of TPMs that are made or in use.
	Current Status = "current"
	// Historic is a CA that its vendor gave up. It is kept for evidence from its
	// time, and its URL may no longer answer.
	Historic Status = "historic"
)

// OwnCatalog is the catalog that comes with this program.
func OwnCatalog(k Kind) (*Catalog, error) {
	c, err := ParseCatalog(OwnCatalogFile(k))
	if err != nil {
		return nil, fmt.Errorf("own catalog of %s: %w", k, err)
	}
	return c, nil
}

// OwnCatalogFile is the file of [OwnCatalog].
func OwnCatalogFile(k Kind) []byte {
	if k == Intermediates {
		return catalog.Intermediates()
	}
	return catalog.Roots()
}

// ParseCatalog reads a catalog. The error is for the first mistake in it and begins
// with the line; [CheckCatalogs] tells of all.
//
// An entry without a fingerprint stronger than SHA-1 is accepted here, so that
// old lists can be read; see [Entry.SHA1Only].
func ParseCatalog(data []byte) (*Catalog, error) {
	r := readCatalog(data)
	if err := r.err(); err != nil {
		return nil, err
	}
	return &Catalog{r.entries}, nil
}

// err is the first mistake.
func (r *catalogReader) err() error {
	if len(r.findings) == 0 {
		return nil
	}
	first := r.findings[0]
	err := &strictyaml.Error{Line: first.Line, Column: first.Column, Err: errors.New(first.Text)}
	if n := len(r.findings); n > 1 {
		return hint.Wrap(err, fmt.Sprintf("there are %d mistakes; sealsmith bundle catalog check FILE shows all", n))
	}
	return err
}

// checkURL allows one spelling of an https URL without credentials and fragment.
func checkURL(s string) error {
	u, err := checkLink(s)
	if err == nil && u.Fragment != "" {
		return fmt.Errorf("%s has a fragment", quote(s))
	}
	return err
}

// CheckEvidence says why an entry cannot have a link to evidence: it must be https and
// in normal form, and may have a fragment.
func CheckEvidence(link string) error {
	if _, err := checkLink(link); err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	return nil
}

// checkLink allows one spelling of an https URL without credentials.
func checkLink(s string) (*url.URL, error) {
	if len(s) > limits.BundleText {
		return nil, fmt.Errorf("longer than %d bytes", limits.BundleText)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("not a URL") // which may hold a password: not repeated
	}
	if u.Port() == "" || u.Port() == "443" { // what https has anyway (RFC 3986, 6.2.3)
		u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	}
	switch {
	case u.User != nil:
		return nil, errors.New("credentials in a URL")
	case u.Scheme != "https":
		return nil, fmt.Errorf("%s is not https", quote(s))
	case u.Hostname() == "" || u.Host != strings.ToLower(u.Host):
		return nil, fmt.Errorf("%s has no lower-case host", quote(s))
	case u.String() != s:
		return nil, fmt.Errorf("%s is not in normal form; want %s", quote(s), quote(u.String()))
	}
	return u, nil
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
	in := a.byKey()
	for _, e := range b.Entries {
		if other, k := in.find(e); k != "" {
			return fmt.Errorf("%s certificate %q and %s certificate %q have the same %s",
				other.Vendor, other.Name, e.Vendor, e.Name, k)
		}
	}
	return nil
}

// entryIndex finds entries by what no two entries share.
type entryIndex map[string]Entry

func (c *Catalog) byKey() entryIndex {
	in := entryIndex{}
	for _, e := range c.Entries {
		in.add(e)
	}
	return in
}

func (in entryIndex) add(e Entry) {
	for _, k := range e.keys() {
		in[k] = e
	}
}

// find returns an entry that has something in common with e, and what; an empty
// text says that there is none.
func (in entryIndex) find(e Entry) (other Entry, what string) {
	for _, k := range e.keys() {
		if other, both := in[k]; both {
			return other, k
		}
	}
	return Entry{}, ""
}

// keys are the properties that no two entries share.
func (e Entry) keys() []string {
	keys := []string{"url " + e.URL}
	for _, f := range e.Fingerprints {
		keys = append(keys, fmt.Sprintf("%v fingerprint %v", f.Hash, f))
	}
	return keys
}

// compareEntries is the order of a catalog in its normal form.
func compareEntries(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Vendor, b.Vendor), cmp.Compare(a.Name, b.Name))
}
