package tpm

import (
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// attestation is evidence whose parts were parsed, each of which encodes to the
// same octets again. Nothing of it is trusted.
type attestation struct {
	evidence                      *Evidence
	ekCertificate                 *x509.Certificate
	intermediates                 []*x509.Certificate
	ekPublic, akPublic, keyPublic *tpm2.TPMTPublic
	akName, keyName               []byte // computed from the public areas
	certify                       *tpm2.TPMSAttest
	signature                     *tpm2.TPMTSignature
}

// parseAttestation parses the parts of evidence. Its error is a [*Refusal] as
// [Malformed].
func parseAttestation(e *Evidence) (*attestation, error) {
	a := &attestation{evidence: e}
	if err := a.parse(); err != nil {
		return nil, refuse(Malformed, "%w", err)
	}
	return a, nil
}

func (a *attestation) parse() error {
	if err := a.evidence.check(); err != nil {
		return err
	}
	if err := a.parseCertificates(); err != nil {
		return err
	}
	var err error
	for _, part := range []struct {
		what string
		area []byte
		into **tpm2.TPMTPublic
	}{{"EK", a.evidence.EKPublic, &a.ekPublic}, {"attestation key", a.evidence.AKPublic, &a.akPublic}, {"key", a.evidence.KeyPublic, &a.keyPublic}} {
		if *part.into, err = parsePublic(part.area); err != nil {
			return fmt.Errorf("%s: %w", part.what, err)
		}
	}
	if a.akName, err = nameOf(a.akPublic); err != nil {
		return fmt.Errorf("attestation key: %w", err)
	}
	if a.keyName, err = nameOf(a.keyPublic); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if a.certify, err = parseStructure[tpm2.TPMSAttest](a.evidence.Certify); err != nil {
		return fmt.Errorf("TPM's statement: %w", err)
	}
	if a.signature, err = parseStructure[tpm2.TPMTSignature](a.evidence.Signature); err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	return nil
}

func (a *attestation) parseCertificates() error {
	var err error
	if a.ekCertificate, err = x509.ParseCertificate(a.evidence.EKCertificate); err != nil {
		return fmt.Errorf("EK certificate: %.200q", err.Error())
	}
	for i, der := range a.evidence.EKIntermediates {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("intermediate certificate %d: %.200q", i+1, err.Error())
		}
		a.intermediates = append(a.intermediates, c)
	}
	return nil
}

// nameHashes are the hashes that a Name may be made with; SHA-1 is none: two
// public areas could have one Name.
var nameHashes = []tpm2.TPMIAlgHash{tpm2.TPMAlgSHA256, tpm2.TPMAlgSHA384, tpm2.TPMAlgSHA512}

func nameOf(public *tpm2.TPMTPublic) ([]byte, error) {
	if !slices.Contains(nameHashes, public.NameAlg) {
		return nil, fmt.Errorf("its Name is made with the hash %#x", uint16(public.NameAlg))
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return nil, err
	}
	return name.Buffer, nil
}

// akKey is the attestation key as Go verifies with it.
func (a *attestation) akKey() (*ecdsa.PublicKey, error) {
	k, err := publicKey(a.akPublic)
	if err != nil {
		return nil, err
	}
	ec, ok := k.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key of type %T", k)
	}
	return ec, nil
}
