package bundle

import (
	"cmp"
	"crypto/x509"
	"maps"
	"slices"
	"strconv"
)

// extensionNames are those of RFC 5280, sections 4.2 and 5.2.6, without "id-ce-" and
// "id-pe-".
var extensionNames = map[string]string{
	"2.5.29.9":           "subjectDirectoryAttributes",
	"2.5.29.14":          "subjectKeyIdentifier",
	"2.5.29.15":          "keyUsage",
	"2.5.29.17":          "subjectAltName",
	"2.5.29.18":          "issuerAltName",
	"2.5.29.19":          "basicConstraints",
	"2.5.29.30":          "nameConstraints",
	"2.5.29.31":          "cRLDistributionPoints",
	"2.5.29.32":          "certificatePolicies",
	"2.5.29.33":          "policyMappings",
	"2.5.29.35":          "authorityKeyIdentifier",
	"2.5.29.36":          "policyConstraints",
	"2.5.29.37":          "extKeyUsage",
	"2.5.29.46":          "freshestCRL",
	"2.5.29.54":          "inhibitAnyPolicy",
	"1.3.6.1.5.5.7.1.1":  "authorityInfoAccess",
	"1.3.6.1.5.5.7.1.11": "subjectInfoAccess",
}

// extensionTexts are the extensions of a certificate by their object identifiers, of
// which crypto/x509 allows each once.
func extensionTexts(c *x509.Certificate) map[string]string {
	texts := map[string]string{}
	for _, e := range c.Extensions {
		id := e.Id.String()
		texts[id] = joinFields(id, strconv.FormatBool(e.Critical), string(e.Value))
	}
	return texts
}

// otherExtensions names the extensions that only one of two certificates has, or has
// with this value.
func otherExtensions(a, b *x509.Certificate) []string {
	before, after := extensionTexts(a), extensionTexts(b)
	names := map[string]bool{}
	for _, texts := range []map[string]string{before, after} {
		for id := range texts {
			if before[id] != after[id] {
				names[cmp.Or(extensionNames[id], id)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
