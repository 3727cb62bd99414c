package bundle

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Parse reads a bundle of either format. It takes only what [Build] makes: it
// picks out the few things that cannot be computed, builds the bundle anew and
// compares all bytes. So comments never lie, nothing stands between the
// certificates, and data of another spelling or order is refused. So are
// certificates against which [Vet], at the bundle's date, has an error.
func Parse(data []byte) (*Bundle, error) {
	b, problems := CheckFile(data)
	if len(problems) > 0 {
		return nil, problems[0]
	}
	if _, err := b.vet(); err != nil {
		return nil, err
	}
	return b, nil
}

// Problem is something in a file that no bundle has.
type Problem struct {
	Line int // from 1; 0 is the whole file
	Text string
}

// Error implements error.
func (p *Problem) Error() string {
	if p.Line == 0 {
		return p.Text
	}
	return fmt.Sprintf("line %d: %s", p.Line, p.Text)
}

func problem(line int, format string, args ...any) *Problem {
	return &Problem{line, fmt.Sprintf(format, args...)}
}

// CheckFile reads a bundle as [Parse] does, but does not judge its certificates:
// [VetBundles] says more of them. It returns either the bundle or what is wrong
// with the file: the first problem, or several if all lines are where they should
// be.
func CheckFile(data []byte) (*Bundle, []*Problem) {
	b, lines, p := read(data)
	if p != nil {
		return nil, []*Problem{p}
	}
	if problems := differences(data, b.data); len(problems) > 0 {
		return nil, problems
	}
	b.lines = lines
	return b, nil
}

// Lines says in which line of the file the PEM of each certificate begins, if the
// bundle was read from one.
func (b *Bundle) Lines() []int { return slices.Clone(b.lines) }

// read makes the bundle that data should be. It may overlook anything: the
// comparison that follows does not.
func read(data []byte) (*Bundle, []int, *Problem) {
	if len(data) > limits.BundleFile {
		return nil, nil, problem(0, "the file has more than %d bytes", limits.BundleFile)
	}
	s := scanner{}
	switch {
	case bytes.HasPrefix(data, []byte(sealsmithFirst)):
		s.fields = sealsmithFields
	case bytes.HasPrefix(data, []byte(tpmtbFirst)):
		s.fields = tpmtbFields
	default:
		return nil, nil, noHeader(data)
	}
	if p := s.scan(string(data)); p != nil {
		return nil, nil, p
	}
	b, err := assemble(s.certs, s.header)
	if err != nil {
		return nil, nil, problem(0, "%v", err)
	}
	return b, s.lines, nil
}

// noHeader says what a file begins with instead of a header.
func noHeader(data []byte) *Problem {
	first, _, _ := strings.Cut(string(data), "\n")
	switch {
	case len(data) == 0:
		return problem(0, "the file is empty")
	case strings.HasPrefix(first, "\ufeff"):
		return problem(1, "a byte order mark before the header")
	case strings.HasSuffix(first, "\r"):
		return problem(1, "ends with CR and LF, not with LF alone")
	}
	return problem(1, "not the header of a TPM CA bundle")
}

// fields are the beginnings of the lines that cannot be computed.
type fields struct {
	format                           Format
	kind, date, commit, vendor, name string
	kinds                            map[string]Kind
}

var sealsmithFields = fields{
	format: Sealsmith,
	kind:   "# Kind: ", date: "# Date: ", commit: "# Commit: ", vendor: "# Vendor: ", name: "# Name: ",
	kinds: map[string]Kind{string(Roots): Roots, string(Intermediates): Intermediates},
}

var tpmtbFields = fields{
	format: TPMTB,
	kind:   "## tpm-", date: "## Date: ", commit: "## Commit: ", vendor: "# Owner: ", name: "# Certificate: ",
	kinds: map[string]Kind{"ca-certificates.pem": Roots, "intermediate-ca-certificates.pem": Intermediates},
}

// scanner picks the fields and the certificates out of a file. Of a field that is
// there twice the first counts.
type scanner struct {
	fields
	header Header
	certs  []Certificate
	lines  []int

	line  int
	begun int // the line where the certificate begins; 0 outside of one
	body  strings.Builder
	next  Certificate
}

func (s *scanner) scan(data string) *Problem {
	s.header.Format = s.format
	for line := range strings.Lines(data) {
		s.line++
		if p := s.add(strings.TrimSuffix(line, "\n")); p != nil {
			return p
		}
	}
	switch {
	case s.begun != 0:
		return problem(s.begun, "the certificate that begins here has no end")
	case len(s.certs) == 0:
		return problem(s.line, "no certificate after the header")
	}
	return nil
}

func (s *scanner) add(line string) *Problem {
	switch {
	case line == "-----BEGIN CERTIFICATE-----" && s.begun == 0:
		s.begun = s.line
		s.body.Reset()
		return s.complete()
	case line == "-----END CERTIFICATE-----" && s.begun != 0:
		return s.end()
	case s.begun == 0:
		return s.set(line)
	case line == "" || strings.Trim(line, base64Letters) != "":
		return problem(s.line, "%s is no line of base64 in a certificate", quote(line))
	}
	s.body.WriteString(line)
	return nil
}

const base64Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

// complete says what should have come before a certificate.
func (s *scanner) complete() *Problem {
	for _, f := range []struct {
		prefix string
		there  bool
	}{
		{s.kind, s.header.Kind != ""},
		{s.date, s.header.Date != ""},
		{s.commit, s.header.Commit != "" || s.format != TPMTB},
		{s.vendor, s.next.Vendor != ""},
		{s.name, s.next.Name != ""},
	} {
		if !f.there {
			return problem(s.line, "a certificate without a line %s before it", quote(f.prefix))
		}
	}
	return nil
}

func (s *scanner) end() *Problem {
	var err error
	if s.next.X509, err = decodeCertificate(s.body.String()); err != nil {
		return problem(s.begun, "the certificate that begins here: %v", err)
	}
	s.certs = append(s.certs, s.next)
	s.lines = append(s.lines, s.begun)
	s.next, s.begun = Certificate{}, 0
	return nil
}

// set takes a line outside of certificates, if it is one of a field.
func (s *scanner) set(line string) *Problem {
	h := &s.header
	for _, f := range []struct {
		prefix string
		there  bool
		set    func(value string) error
	}{
		{s.kind, h.Kind != "", func(v string) (err error) { h.Kind, err = s.parseKind(v); return err }},
		{s.date, h.Date != "", func(v string) error { h.Date = v; return checkDate(v) }},
		{s.commit, h.Commit != "", func(v string) error { h.Commit = v; return checkCommit(s.format, v) }},
		{s.vendor, s.next.Vendor != "", func(v string) error { s.next.Vendor = v; return checkVendor(v) }},
		{s.name, s.next.Name != "", func(v string) error { s.next.Name = v; return checkName(v) }},
	} {
		value, ok := strings.CutPrefix(line, f.prefix)
		if !ok || f.there {
			continue
		}
		if err := f.set(value); err != nil {
			return problem(s.line, "%v", err)
		}
	}
	return nil
}

func (f fields) parseKind(s string) (Kind, error) {
	k, ok := f.kinds[s]
	if !ok {
		return "", fmt.Errorf("%s is not of a kind of bundle", quote(f.kind+s))
	}
	return k, nil
}

// differences says in which lines data is not what it should be: in all of them, or
// in the first if the lines after it have moved.
func differences(data, want []byte) []*Problem {
	if bytes.Equal(data, want) {
		return nil
	}
	got, wanted := strings.SplitAfter(string(data), "\n"), strings.SplitAfter(string(want), "\n")
	var all []*Problem
	// Of two texts that differ, the last piece of the shorter is never a piece
	// of the longer: it has no line feed.
	for i := range min(len(got), len(wanted)) {
		if got[i] == wanted[i] {
			continue
		}
		all = append(all, problem(i+1, "%s", otherLine(got[i], wanted[i])))
		if len(got) != len(wanted) || len(all) == limits.BundleProblems {
			break
		}
	}
	return all
}

// otherLine says how a line is not what it should be.
func otherLine(got, want string) string {
	switch {
	case got == "":
		return "the file ends before " + quote(want)
	case got+"\n" == want:
		return "no line feed at its end"
	case strings.HasSuffix(got, "\r\n"):
		return "ends with CR and LF, not with LF alone"
	case want == "":
		return quote(got) + " after the last certificate"
	}
	return "is " + quote(got) + ", want " + quote(want)
}

func decodeCertificate(body string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
