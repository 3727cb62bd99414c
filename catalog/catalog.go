// Package catalog carries the project's own lists of TPM vendors' CA
// certificates: where each is published and which digests it has. It holds no
// certificates. docs/spec/catalog.md describes the format; package bundle
// reads it.
//
// # Trust
//
// The lists are part of the program and reviewed like code: who can change them
// chooses which CAs a bundle vouches for. Nothing else reaches this package.
package catalog

import _ "embed" // for the lists

var (
	//go:embed roots.yaml
	roots string
	//go:embed intermediates.yaml
	intermediates string
)

// Roots is the list of root CA certificates, as YAML. Each call returns a copy.
func Roots() []byte { return []byte(roots) }

// Intermediates is the list of intermediate CA certificates, as YAML. Each call
// returns a copy.
func Intermediates() []byte { return []byte(intermediates) }
