package bundle

import (
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"strings"
	"time"
)

// EKFinding is something odd about an EK certificate for which it is not refused:
// makers of real TPMs keep the TCG's profile as they like.
type EKFinding struct {
	ID   string // stable; docs/spec/ek.md lists them
	Text string // in one line
}

// The ids of findings.
const (
	findNoUsage        = "no-ek-usage"
	findNoAttributes   = "no-attributes"
	findKeyUsage       = "key-usage"
	findUnknownVendor  = "unknown-vendor"
	findVendorMismatch = "vendor-mismatch"
	findNormalised     = "normalised-name"
)

// EKOptions say how to judge an EK certificate.
type EKOptions struct {
	At      time.Time           // as for [Anchors.VerifyEK]
	Helpers []*x509.Certificate // likewise, its intermediates
	CRLs    *CRLs               // nil: revocation is not checked
}

// EKReport is what was found out about an EK certificate.
type EKReport struct {
	Certificate *x509.Certificate
	// Refused is nil if the certificate leads to a root, and is not known to be
	// revoked.
	Refused *EKError
	// Chain is nil if the certificate is not an EK's by its own words. If it was
	// refused, nobody vouches for what the certificate says of the TPM, and there
	// are certificates only if it is revoked.
	Chain      *EKChain
	Findings   []EKFinding
	Revocation []Revocation // of the chain's certificates but the root
	// IssuerURLs and CRLURLs are where the certificate says that its issuer's is,
	// and its issuer's list; those that are safe to print.
	IssuerURLs, CRLURLs []string
}

// ReportEK is [Anchors.VerifyEK] with all that it has to say of a certificate. A
// certificate of the chain that is on a revocation list refuses it, at whatever time
// it was revoked: keys are revoked when somebody finds out.
func (a *Anchors) ReportEK(leaf *x509.Certificate, o EKOptions) *EKReport {
	r := &EKReport{Certificate: leaf}
	if leaf != nil {
		r.IssuerURLs, r.CRLURLs = printableURLs(leaf.IssuingCertificateURL), printableURLs(leaf.CRLDistributionPoints)
	}
	var path []*node
	r.Chain, path, r.Refused = a.verifyEK(leaf, o.Helpers, o.At)
	if r.Chain != nil {
		r.vetLeaf()
	}
	if path != nil {
		r.vetPath(path)
	}
	for i := range max(len(path)-1, 0) {
		found := o.CRLs.look(path[i], path[i+1], o.At)
		r.Revocation = append(r.Revocation, found)
		if found.Status == IsRevoked && r.Refused == nil {
			r.Refused = refuse(Revoked, "%s was %s", nameOf(found.Certificate), found.Text)
		}
	}
	return r
}

func (r *EKReport) find(id, format string, args ...any) {
	r.Findings = append(r.Findings, EKFinding{id, fmt.Sprintf(format, args...)})
}

// vetLeaf compares with the TCG EK Credential Profile, section 3.2.
func (r *EKReport) vetLeaf() {
	if !limited(r.Certificate) {
		r.find(findNoUsage, "it has no extended key usage; the TCG's profile wants that of EK certificates")
	}
	wanted := x509.KeyUsageKeyEncipherment
	if _, ec := r.Certificate.PublicKey.(*ecdsa.PublicKey); ec {
		wanted = x509.KeyUsageKeyAgreement
	}
	if r.Certificate.KeyUsage != wanted {
		r.find(findKeyUsage, "its key usage is %s; the TCG's profile wants %s of such a key", usageText(r.Certificate.KeyUsage), usageText(wanted))
	}
	switch {
	case r.Chain.Manufacturer == "":
		r.find(findNoAttributes, "it says nothing of its TPM: no manufacturer, no model")
	case r.Chain.Vendor == "":
		r.find(findUnknownVendor, "its manufacturer %s is not in the TCG's vendor registry", r.Chain.Manufacturer)
	}
}

// vetPath compares the vendor that the certificate names with the nearest one of the
// CA bundle, and looks at the names of the chain.
func (r *EKReport) vetPath(path []*node) {
	for i, n := range path[1:] {
		if child := path[i]; string(child.cert.RawIssuer) != string(n.cert.RawSubject) {
			r.find(findNormalised, "the names of %s and of its issuer are equal by RFC 5280, but not byte for byte: other verifiers find no chain", nameOf(child.cert))
		}
	}
	for _, n := range path[1:] {
		if n.vendor == "" {
			continue
		}
		if r.Chain.Vendor != "" && n.vendor != r.Chain.Vendor {
			r.find(findVendorMismatch, "it is of a TPM by %s, and was issued under a CA of %s", r.Chain.Vendor, n.vendor)
		}
		return
	}
}

// keyUsages are the names of the bits in RFC 5280, section 4.2.1.3.
var keyUsages = []string{
	"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement",
	"keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
}

func usageText(u x509.KeyUsage) string {
	var names []string
	for i, name := range keyUsages {
		if u&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
