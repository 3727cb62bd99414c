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
	// Parsed and printed again: the library reads more than one spelling.
	if day, err := time.Parse(time.DateOnly, h.Date); err != nil || day.Format(time.DateOnly) != h.Date {
		return fmt.Errorf("date %s is not YYYY-MM-DD", quote(h.Date))
	}
	switch {
	case h.Format == TPMTB && len(h.Commit) != 40:
		return fmt.Errorf("commit %s: the tpmtb format wants 40 lower-case hexadecimal digits", quote(h.Commit))
	case h.Commit != "" && !commitPattern.MatchString(h.Commit):
		return fmt.Errorf("commit %s is not 40 or 64 lower-case hexadecimal digits", quote(h.Commit))
	}
	return nil
}

// Bundle is a CA bundle that is whole and well-formed. Only [Build] and [Parse]
// make one. It is immutable.
type Bundle struct {
	header Header
	certs  []Certificate // in the order of the file
	data   []byte
}

// Build makes a bundle. The order of certs does not matter: the same set gives
// the same bytes.
//
// It refuses an empty set, a vendor that the TCG does not know, a name that
// could break out of its line, and certificates against which [Vet], at the
// bundle's date, has an error. The warnings are returned.
func Build(certs []Certificate, h Header) (*Bundle, []Finding, error) {
	if err := h.check(); err != nil {
		return nil, nil, err
	}
	if len(certs) == 0 {
		return nil, nil, errors.New("a bundle needs at least one certificate")
	}
	for _, c := range certs {
		if c.X509 == nil {
			return nil, nil, fmt.Errorf("%s %s is without its certificate", quote(c.Vendor), quote(c.Name))
		}
		if _, known := VendorName(c.Vendor); !known {
			return nil, nil, fmt.Errorf("vendor id %s is not in the TCG registry", quote(c.Vendor))
		}
		if err := checkText(c.Name); err != nil {
			return nil, nil, fmt.Errorf("name %s: %w", quote(c.Name), err)
		}
	}
	records, err := newRecords(certs)
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(records, orders[h.Format])
	b := &Bundle{header: h, certs: make([]Certificate, len(records))}
	for i, r := range records {
		b.certs[i] = r.Certificate
	}
	findings, err := b.vet()
	if err != nil {
		return nil, nil, err
	}
	b.data = encode(h, records)
	if len(b.data) > limits.BundleFile {
		return nil, nil, fmt.Errorf("the bundle has more than %d bytes", limits.BundleFile)
	}
	return b, findings, nil
}

// vet returns the warnings, or an error that lists the errors.
func (b *Bundle) vet() ([]Finding, error) {
	day, err := time.Parse(time.DateOnly, b.header.Date)
	if err != nil {
		return nil, err
	}
	findings := Vet(b.certs, day)
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
