package bundle

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Object identifiers of the TCG EK Credential Profile, sections 3.1 and 3.2.
var (
	oidEKCertificate   = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	oidTPMManufacturer = asn1.ObjectIdentifier{2, 23, 133, 2, 1}
	oidTPMModel        = asn1.ObjectIdentifier{2, 23, 133, 2, 2}
	oidTPMVersion      = asn1.ObjectIdentifier{2, 23, 133, 2, 3}
	oidSubjectAltName  = asn1.ObjectIdentifier{2, 5, 29, 17} // RFC 5280, 4.2.1.6
)

// Tags in a GeneralName (RFC 5280, 4.2.1.6).
const (
	mailAddress     = 1
	directoryName   = 4
	uniformResource = 6
)

// checkLeaf says whether a certificate is for an EK, as far as it says so itself,
// and reads what it says of the TPM. Real certificates keep only part of the TCG's
// profile: key usages for the other kind of key, no extended key usage. What is
// checked is what tells an EK from other keys that the same CAs certify.
func checkLeaf(c *x509.Certificate) (*EKChain, *EKError) {
	if refused := checkKey(c); refused != nil {
		return nil, refused
	}
	_, signs := c.PublicKey.(ed25519.PublicKey)
	switch {
	case c.IsCA:
		return nil, refuse(NotAnEK, "%s is that of a CA", nameOf(c))
	case signs || c.KeyUsage&(x509.KeyUsageKeyEncipherment|x509.KeyUsageKeyAgreement) == 0:
		return nil, refuse(NotAnEK, "%s is not for a key that decrypts", nameOf(c))
	case !mayBeEK(c):
		return nil, refuse(NotAnEK, "%s is for other usages than an EK's", nameOf(c))
	}
	for _, oid := range c.UnhandledCriticalExtensions {
		if !oid.Equal(oidSubjectAltName) { // which is parsed below
			return nil, refuse(UnknownCriticalExtension, "%s has the critical extension %.80v", nameOf(c), oid)
		}
	}
	der, found := extension(c, oidSubjectAltName)
	if !found {
		if limited(c) {
			return &EKChain{}, nil
		}
		return nil, refuse(NotAnEK, "%s has neither the usage of an EK nor the attributes of a TPM", nameOf(c))
	}
	return tpmAttributes(c, der)
}

// mayBeEK says whether the extended key usages, if there are any, have the EK's.
func mayBeEK(c *x509.Certificate) bool {
	return !limited(c) || slices.ContainsFunc(c.UnknownExtKeyUsage, oidEKCertificate.Equal)
}

// limited says whether a certificate has a list of extended key usages: one that is
// empty, which crypto/x509 takes for none, allows nothing.
func limited(c *x509.Certificate) bool {
	_, listed := extension(c, oidExtKeyUsage)
	return listed || len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0
}

// tpmAttributes reads the subject alternative name: one directory name, in which
// each attribute of the TPM is once (TCG EK Credential Profile, 3.2.9).
func tpmAttributes(c *x509.Certificate, der []byte) (*EKChain, *EKError) {
	bad := func(why string) (*EKChain, *EKError) {
		return nil, refuse(Malformed, "%s: subject alternative name: %s", nameOf(c), why)
	}
	var names []asn1.RawValue
	rest, err := asn1.Unmarshal(der, &names)
	if err != nil || len(rest) > 0 {
		return bad("not the DER of one")
	}
	if len(names) != 1 || names[0].Class != asn1.ClassContextSpecific || names[0].Tag != directoryName || !names[0].IsCompound {
		return bad("not one directory name")
	}
	rdns, err := parseName(names[0].Bytes)
	if err != nil {
		return bad(err.Error())
	}
	var found EKChain
	for _, want := range []struct {
		oid  asn1.ObjectIdentifier
		what string
		into *string
	}{
		{oidTPMManufacturer, "manufacturer", &found.Manufacturer},
		{oidTPMModel, "model", &found.Model},
		{oidTPMVersion, "version", &found.Version},
	} {
		text, ok := onlyAttribute(rdns, want.oid)
		if !ok {
			return bad("the TPM's " + want.what + " is not in it once, as printable text")
		}
		*want.into = text
	}
	if !manufacturerPattern.MatchString(found.Manufacturer) {
		return bad("TPM manufacturer " + quote(found.Manufacturer) + ` is not "id:" and 8 hexadecimal digits`)
	}
	found.Vendor = vendorOf(found.Manufacturer)
	return &found, nil
}

var manufacturerPattern = regexp.MustCompile(`^id:[0-9A-Fa-f]{8}$`)

// vendorOf decodes a manufacturer; software TPMs have numbers that stand for no
// vendor.
func vendorOf(manufacturer string) string {
	id, err := hex.DecodeString(strings.TrimPrefix(manufacturer, "id:"))
	if err != nil {
		return ""
	}
	vendor := strings.TrimRight(string(id), "\x00 ")
	if _, known := VendorName(vendor); !known {
		return ""
	}
	return vendor
}

// onlyAttribute is the text of an attribute that is in the name exactly once.
func onlyAttribute(rdns []attributeSET, oid asn1.ObjectIdentifier) (text string, ok bool) {
	for _, a := range slices.Concat(rdns...) {
		if !a.Type.Equal(oid) {
			continue
		}
		if ok {
			return "", false
		}
		if text, ok = directoryText(a.Value); !ok || len(text) > limits.BundleText || checkPrintable(text) != nil {
			return "", false
		}
	}
	return text, ok
}
