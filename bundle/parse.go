package bundle

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Parse reads a bundle of either format. It takes only what [Build] makes: it
// picks out the few things that cannot be computed, builds the bundle anew and
// compares all bytes. So comments never lie, nothing stands between the
// certificates, and data of another spelling or order is refused.
func Parse(data []byte) (*Bundle, error) {
	if len(data) > limits.BundleFile {
		return nil, fmt.Errorf("bundle has more than %d bytes", limits.BundleFile)
	}
	f := sealsmithFields
	switch {
	case bytes.HasPrefix(data, []byte(sealsmithFirst)):
	case bytes.HasPrefix(data, []byte(tpmtbFirst)):
		f = tpmtbFields
	default:
		return nil, errors.New("line 1: not the header of a TPM CA bundle")
	}
	h, certs, err := f.scan(string(data))
	if err != nil {
		return nil, err
	}
	b, _, err := Build(certs, h)
	if err != nil {
		return nil, err
	}
	if err := difference(data, b.data); err != nil {
		return nil, err
	}
	return b, nil
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

// scan picks out the fields and the certificates. It may overlook anything:
// the comparison that follows does not.
func (f fields) scan(data string) (h Header, certs []Certificate, err error) {
	h.Format = f.format
	var c Certificate
	var body strings.Builder
	inside := false
	n := 0
	for line := range strings.Lines(data) {
		n++
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "-----BEGIN CERTIFICATE-----":
			inside = true
			body.Reset()
		case line == "-----END CERTIFICATE-----":
			inside = false
			if c.X509, err = decodeCertificate(body.String()); err != nil {
				return Header{}, nil, fmt.Errorf("certificate that ends in line %d: %w", n, err)
			}
			certs = append(certs, c)
			c = Certificate{}
		case inside:
			body.WriteString(line)
		default:
			f.set(line, &h, &c)
		}
	}
	return h, certs, nil
}

func (f fields) set(line string, h *Header, c *Certificate) {
	for _, field := range []struct {
		prefix string
		set    func(value string)
	}{
		{f.kind, func(v string) { h.Kind = f.kinds[v] }},
		{f.date, func(v string) { h.Date = v }},
		{f.commit, func(v string) { h.Commit = v }},
		{f.vendor, func(v string) { c.Vendor = v }},
		{f.name, func(v string) { c.Name = v }},
	} {
		if value, ok := strings.CutPrefix(line, field.prefix); ok {
			field.set(value)
		}
	}
}

func decodeCertificate(body string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// difference says in which line data is not what it should be.
func difference(data, want []byte) error {
	if bytes.Equal(data, want) {
		return nil
	}
	got, wanted := strings.SplitAfter(string(data), "\n"), strings.SplitAfter(string(want), "\n")
	i := 0
	// Of two texts that differ, the last piece of the shorter is never a piece
	// of the longer: it has no line feed.
	for got[i] == wanted[i] {
		i++
	}
	return fmt.Errorf("line %d is %s, want %s", i+1, quote(got[i]), quote(wanted[i]))
}
