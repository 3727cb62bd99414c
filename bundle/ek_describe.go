package bundle

import "crypto/x509"

// DescribeEK reads what an EK certificate says of its TPM; the chain has no
// certificates. Anybody can have made it up: [Anchors.VerifyEK] verifies it. Its
// error is an [*EKError], for a certificate that is not an EK's by its own words.
func DescribeEK(leaf *x509.Certificate) (*EKChain, error) {
	found, refused := checkLeaf(leaf)
	if refused != nil {
		return nil, refused
	}
	return found, nil
}
