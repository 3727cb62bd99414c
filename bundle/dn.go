package bundle

import (
	"encoding/asn1"
	"fmt"
	"strings"
	"unicode"
)

// attribute is AttributeTypeAndValue; the name of its list tells encoding/asn1
// that a RelativeDistinguishedName is a SET (RFC 5280, 4.1.2.4).
type attribute struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

type attributeSET []attribute

// attributeNames are the types that RFC 4514, section 3, gives a short name.
var attributeNames = map[string]string{
	"2.5.4.3":                    "CN",
	"2.5.4.6":                    "C",
	"2.5.4.7":                    "L",
	"2.5.4.8":                    "ST",
	"2.5.4.9":                    "STREET",
	"2.5.4.10":                   "O",
	"2.5.4.11":                   "OU",
	"0.9.2342.19200300.100.1.1":  "UID",
	"0.9.2342.19200300.100.1.25": "DC",
}

// dnString writes a DER-encoded name as RFC 4514 has it: the last RDN first,
// nothing reordered. Types without a short name and values that are no common
// string are written in hexadecimal. What is not printable is escaped, so the
// result is one line whatever the certificate says.
//
// pkix.Name.String is not used: it regroups the attributes and its rules are
// those of a library, not of a document.
func dnString(der []byte) (string, error) {
	rdns, err := parseName(der)
	if err != nil {
		return "", err
	}
	parts := make([]string, len(rdns))
	for i, rdn := range rdns {
		values := make([]string, len(rdn))
		for k, a := range rdn {
			values[k] = attributeString(a)
		}
		parts[len(rdns)-1-i] = strings.Join(values, "+")
	}
	return strings.Join(parts, ","), nil
}

func attributeString(a attribute) string {
	name, short := attributeNames[a.Type.String()]
	if text, ok := directoryText(a.Value); ok && short {
		return name + "=" + escapeDN(text)
	}
	if !short {
		name = a.Type.String()
	}
	return fmt.Sprintf("%s=#%x", name, a.Value.FullBytes)
}

// escapeDN escapes a value as in RFC 4514, section 2.4.
func escapeDN(s string) string {
	var out strings.Builder
	for i, r := range s {
		switch {
		case !unicode.IsPrint(r):
			for _, b := range []byte(string(r)) {
				fmt.Fprintf(&out, `\%02X`, b)
			}
		case strings.ContainsRune(`"+,;<>\`, r), i == 0 && (r == '#' || r == ' '), i == len(s)-1 && r == ' ':
			out.WriteByte('\\')
			out.WriteRune(r)
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}
