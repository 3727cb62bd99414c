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
