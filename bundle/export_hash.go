package bundle

import (
	"bytes"
	"crypto/sha1"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// ExportHashed writes a PEM file for each certificate, under the name by which
// OpenSSL looks for it in a folder (-CApath; openssl-rehash(1)): the hash of its
// subject and a number, in the order given, for those that have the same.
func ExportHashed(certs []Certificate) ([]File, error) {
	content := map[string][]byte{}
	number := map[string]int{}
	for _, c := range distinct(certs) {
		hash, err := subjectHash(c.X509.RawSubject)
		if err != nil {
			return nil, fmt.Errorf("%s %q: subject: %w", c.Vendor, c.Name, err)
		}
		content[fmt.Sprintf("%s.%d", hash, number[hash])] = pemBlock(c)
		number[hash]++
	}
	return sortedFiles(content), nil
}

// subjectHash is OpenSSL's X509_NAME_hash(3): the first four bytes, as a little-endian
// number, of the SHA-1 of the RDNs, whose strings are written in one way. It is not
// [canonicalName]: OpenSSL's folds ASCII only. SHA-1 finds a file here and proves
// nothing.
func subjectHash(der []byte) (string, error) {
	rdns, err := parseName(der)
	if err != nil {
		return "", err
	}
	h := sha1.New()
	for _, rdn := range rdns {
		set, err := opensslRDN(rdn)
		if err != nil {
			return "", err
		}
		h.Write(set)
	}
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(h.Sum(nil))), nil
}

// opensslRDN encodes an RDN as a SET in DER, which sorts the attributes.
func opensslRDN(rdn attributeSET) ([]byte, error) {
	attributes := make([][]byte, len(rdn))
	for i, a := range rdn {
		var err error
		if attributes[i], err = asn1.Marshal(attribute{a.Type, opensslValue(a.Value)}); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(attributes, bytes.Compare)
	return asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: slices.Concat(attributes...)})
}

// opensslValue writes strings in UTF-8, in lower case as far as they are ASCII,
// with single spaces; other values, and digits alone, as they are. crypto/x509
// parses no certificate whose names have strings of other types than these or
// characters that these do not allow.
func opensslValue(v asn1.RawValue) asn1.RawValue {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return v
	}
	var text strings.Builder
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String:
		text.Write(v.Bytes)
	case asn1.TagT61String: // read as Latin-1, as everybody does
		for _, b := range v.Bytes {
			text.WriteRune(rune(b))
		}
	case asn1.TagBMPString:
		for pair := range slices.Chunk(v.Bytes, 2) {
			text.WriteRune(rune(pair[0])<<8 | rune(pair[len(pair)-1]))
		}
	default:
		return v
	}
	return asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(foldASCII(text.String()))}
}

// foldASCII folds case and white space as OpenSSL does: in ASCII alone.
func foldASCII(s string) string {
	isSpace := func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) }
	words := strings.FieldsFunc(s, isSpace)
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.Join(words, " "))
}
