package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Header is what a bundle says of itself.
type Header struct {
	Kind   Kind
	Format Format
	Date   string // YYYY-MM-DD
	// Commit of the catalog's repository, lower-case hexadecimal. Our own
	// format can do without.
	Commit string
}

var commitPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

func (h Header) check() error {
	if _, err := ParseKind(string(h.Kind)); err != nil {
		return err
	}
	if _, err := ParseFormat(string(h.Format)); err != nil {
		return err
	}
	if err := checkDate(h.Date); err != nil {
		return err
	}
	if h.Commit == "" && h.Format != TPMTB {
		return nil
	}
	return checkCommit(h.Format, h.Commit)
}

// checkDate parses and prints again: the library reads more than one spelling.
func checkDate(date string) error {
	if day, err := time.Parse(time.DateOnly, date); err != nil || day.Format(time.DateOnly) != date {
		return fmt.Errorf("date %s is not YYYY-MM-DD", quote(date))
	}
	return nil
}

func checkCommit(f Format, commit string) error {
	switch {
	case f == TPMTB && len(commit) != 40:
		return fmt.Errorf("commit %s: the tpmtb format wants 40 lower-case hexadecimal digits", quote(commit))
	case !commitPattern.MatchString(commit):
		return fmt.Errorf("commit %s is not 40 or 64 lower-case hexadecimal digits", quote(commit))
	}
	return nil
}

// Bundle is a CA bundle that is whole and well-formed. Only [Build] and [Parse]
// make one. It is immutable.
type Bundle struct {
	header  Header
	certs   []Certificate // in the order of the file
	records []record      // of them
	lines   []int         // where the PEM of each certificate begins, if it was read
	data    []byte
}

// Build makes a bundle. The order of certs does not matter: the same set gives
// the same bytes.
//
// It refuses an empty set, a vendor that the TCG does not know, a name that
// could break out of its line, and certificates against which [Vet], at the
// bundle's date, has an error. The warnings are returned.
func Build(certs []Certificate, h Header) (*Bundle, []Finding, error) {
	b, err := assemble(certs, h)
	if err != nil {
		return nil, nil, err
	}
	findings, err := b.vet()
	if err != nil {
		return nil, nil, err
	}
	return b, findings, nil
}

// assemble makes the file; what the certificates are worth is not its business.
func assemble(certs []Certificate, h Header) (*Bundle, error) {
	if err := h.check(); err != nil {
		return nil, err
	}
	if len(certs) == 0 {
		return nil, errors.New("a bundle needs at least one certificate")
	}
	for _, c := range certs {
		if err := c.check(); err != nil {
			return nil, err
		}
	}
	records, err := newRecords(certs)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(records, orders[h.Format])
	b := &Bundle{header: h, certs: make([]Certificate, len(records)), records: records}
	for i, r := range records {
		b.certs[i] = r.Certificate
	}
	b.data = encode(h, records)
	if len(b.data) > limits.BundleFile {
		return nil, fmt.Errorf("the bundle has more than %d bytes", limits.BundleFile)
	}
	return b, nil
}

// check says what a bundle cannot write of a certificate.
func (c Certificate) check() error {
	if c.X509 == nil {
		return fmt.Errorf("%s %s is without its certificate", quote(c.Vendor), quote(c.Name))
	}
	if err := checkVendor(c.Vendor); err != nil {
		return err
	}
	return checkName(c.Name)
}

func checkVendor(id string) error {
	if _, known := VendorName(id); !known {
		return fmt.Errorf("vendor id %s is not in the TCG registry", quote(id))
	}
	return nil
}

func checkName(name string) error {
	if err := checkText(name); err != nil {
		return fmt.Errorf("name %s: %w", quote(name), err)
	}
	return nil
}

// vet returns the warnings, or an error that lists the errors.
func (b *Bundle) vet() ([]Finding, error) {
	day, err := time.Parse(time.DateOnly, b.header.Date)
	if err != nil {
		return nil, err
	}
	var certs []vetted
	for _, m := range Members(b) {
		certs = append(certs, newVetted(m))
	}
	findings := vet(certs, VetOptions{At: day}, nil)
	return findings, findingsError(findings)
}

// findingsError lists the findings that forbid a bundle, a line each.
func findingsError(findings []Finding) error {
	var lines []string
	for _, f := range findings {
		if f.Severity == Error {
			lines = append(lines, "\n  "+f.String())
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("certificates that no bundle may hold:%s", strings.Join(lines, ""))
}

// Header returns what the bundle says of itself.
func (b *Bundle) Header() Header { return b.header }

// Certificates returns the certificates in the order of the file.
func (b *Bundle) Certificates() []Certificate { return slices.Clone(b.certs) }

// Encode returns the bytes of the file.
func (b *Bundle) Encode() []byte { return bytes.Clone(b.data) }
