package bundle

import (
	"bytes"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parseName reads a DER-encoded Name (RFC 5280, 4.1.2.4).
func parseName(der []byte) ([]attributeSET, error) {
	var rdns []attributeSET
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil {
		return nil, fmt.Errorf("distinguished name: %w", err)
	} else if len(rest) > 0 {
		return nil, fmt.Errorf("distinguished name: %d bytes after it", len(rest))
	}
	if slices.ContainsFunc(rdns, func(rdn attributeSET) bool { return len(rdn) == 0 }) {
		return nil, errors.New("distinguished name: a part of it is empty")
	}
	return rdns, nil
}

// canonicalName writes a DER-encoded name so that two names have the same bytes
// if they are equal by RFC 5280, section 7.1: neither the type of a string, nor
// case, nor the amount of white space, nor the order inside an RDN matters.
// Vendors have re-encoded names of CAs that had issued certificates before.
//
// Of the string preparation of RFC 4518 it leaves out the compatibility forms of
// Unicode, which no CA needs: names that differ so stay different.
func canonicalName(der []byte) (string, error) {
	rdns, err := parseName(der)
	if err != nil {
		return "", err
	}
	var name []byte
	for _, rdn := range rdns {
		attributes := make([]string, len(rdn))
		for i, a := range rdn {
			attributes[i] = string(appendField(appendField(nil, a.Type.String()), canonicalValue(a.Value)))
		}
		slices.Sort(attributes)
		name = appendField(name, strings.Join(attributes, ""))
	}
	return string(name), nil
}

// sameName compares two DER-encoded names as RFC 5280, section 7.1 does. What is no
// name is equal only to itself.
func sameName(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	canonicalA, errA := canonicalName(a)
	canonicalB, errB := canonicalName(b)
	return errA == nil && errB == nil && canonicalA == canonicalB
}

// appendField writes a length before a text, so that no text looks like two.
func appendField(out []byte, s string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(s))), s...)
}

// canonicalValue keeps strings and other values apart by their first byte.
func canonicalValue(v asn1.RawValue) string {
	if text, ok := directoryText(v); ok {
		return "s" + strings.Join(strings.Fields(strings.Map(foldCase, text)), " ")
	}
	return "d" + string(v.FullBytes)
}

// directoryText is the text of a value that is one of the common strings.
func directoryText(v asn1.RawValue) (text string, ok bool) {
	if v.Class != asn1.ClassUniversal || v.IsCompound || !utf8.Valid(v.Bytes) {
		return "", false
	}
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString:
		return string(v.Bytes), true
	}
	return "", false
}

// foldCase maps all runes that differ only in case to the least of them.
func foldCase(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	return least
}
