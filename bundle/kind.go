package bundle

import "fmt"

// Kind says which certificates a bundle holds.
type Kind string

// The kinds, in the order of a release.
const (
	Roots         Kind = "roots"
	Intermediates Kind = "intermediates"
)

// Kinds are all kinds, in the order of a release.
func Kinds() []Kind { return []Kind{Roots, Intermediates} }

// ParseKind reads "roots" or "intermediates".
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case Roots, Intermediates:
		return k, nil
	}
	return "", fmt.Errorf("kind %.80q is neither %q nor %q", s, Roots, Intermediates)
}

// FileName is the name of a bundle's file. It depends on nothing but the kind,
// because the tpmtb format repeats it in the file.
func (k Kind) FileName() string {
	if k == Intermediates {
		return "tpm-intermediate-ca-certificates.pem"
	}
	return "tpm-ca-certificates.pem"
}

// Format says how a bundle is written; docs/spec/ca-bundle.md describes both.
type Format string

// The formats.
const (
	// Sealsmith is our own.
	Sealsmith Format = "sealsmith"
	// TPMTB is that of github.com/loicsikidi/tpm-ca-certificates.
	TPMTB Format = "tpmtb"
)

// ParseFormat reads "sealsmith" or "tpmtb".
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Sealsmith, TPMTB:
		return f, nil
	}
	return "", fmt.Errorf("format %.80q is neither %q nor %q", s, Sealsmith, TPMTB)
}
