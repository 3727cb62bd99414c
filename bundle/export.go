package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/smallstep/pkcs7"
	"software.sslmate.com/src/go-pkcs12"
)

// ExportPEM writes certificates as PEM and nothing else: each once, in the order
// given.
func ExportPEM(certs []Certificate) []byte {
	var out []byte
	for _, c := range distinct(certs) {
		out = append(out, pemBlock(c)...)
	}
	return out
}

// ExportPKCS7 writes certificates as PKCS#7 that holds nothing else, in DER (RFC
// 2315, section 9.1: a degenerate case of SignedData; files end in .p7b). The order
// does not matter: the certificates are a SET, which DER sorts.
func ExportPKCS7(certs []Certificate) ([]byte, error) {
	certs = distinct(certs)
	if len(certs) == 0 {
		return nil, errNothing
	}
	slices.SortFunc(certs, func(a, b Certificate) int { return bytes.Compare(a.X509.Raw, b.X509.Raw) })
	var all []byte
	for _, c := range certs {
		all = append(all, c.X509.Raw...)
	}
	der, err := pkcs7.DegenerateCertificate(all)
	if err != nil {
		return nil, fmt.Errorf("write PKCS#7: %w", err)
	}
	return der, nil
}

// ExportPKCS12 writes certificates as a trust store for Java 12 and later, in which
// each is trusted by itself. With a password, of printable ASCII, the store is
// encrypted and has a MAC with random salts: its bytes are others each time. With
// none it has neither, and the same certificates in the same order give the same
// bytes.
func ExportPKCS12(certs []Certificate, password []byte) ([]byte, error) {
	certs = distinct(certs)
	if len(certs) == 0 {
		return nil, errNothing
	}
	if bytes.ContainsFunc(password, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, errors.New("the password has other characters than printable ASCII, which programs encode in different ways")
	}
	encoder := pkcs12.Modern2023
	if len(password) == 0 {
		encoder = pkcs12.Passwordless
	}
	// The library wants a string, which stays in memory until it is collected.
	der, err := encoder.EncodeTrustStoreEntries(aliases(certs), string(password))
	if err != nil {
		return nil, fmt.Errorf("write PKCS#12: %w", err)
	}
	return der, nil
}

// aliases gives each certificate the name that Java lists it by. Of two that differ
// only in case Java would drop one.
func aliases(certs []Certificate) []pkcs12.TrustStoreEntry {
	entries := make([]pkcs12.TrustStoreEntry, len(certs))
	seen := map[string]bool{}
	for i, c := range certs {
		alias := c.Name
		for seen[strings.Map(foldCase, alias)] {
			alias = fmt.Sprintf("%s (%s, sha256:%x)", alias, c.Vendor, sha256.Sum256(c.X509.Raw))
		}
		seen[strings.Map(foldCase, alias)] = true
		entries[i] = pkcs12.TrustStoreEntry{Cert: c.X509, FriendlyName: alias}
	}
	return entries
}

// ExportVendors writes a PEM file for each vendor, called after its id: IFX.pem.
func ExportVendors(certs []Certificate) []File {
	byVendor := map[string][]byte{}
	for _, c := range distinct(certs) {
		name := c.Vendor + ".pem"
		byVendor[name] = append(byVendor[name], pemBlock(c)...)
	}
	return sortedFiles(byVendor)
}

var errNothing = errors.New("there is no certificate to export")

// distinct leaves out what is there already.
func distinct(certs []Certificate) []Certificate {
	seen := map[string]bool{}
	var all []Certificate
	for _, c := range certs {
		if !seen[string(c.X509.Raw)] {
			seen[string(c.X509.Raw)] = true
			all = append(all, c)
		}
	}
	return all
}

func pemBlock(c Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.X509.Raw})
}

func sortedFiles(content map[string][]byte) []File {
	var files []File
	for name, data := range content {
		files = append(files, File{name, data})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files
}
