package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"math/big"
	"slices"

	"github.com/google/go-tpm/tpm2"
)

// checkEKPublic says whether the EK's public area is that of an endorsement key
// with the certificate's public key.
func (a *attestation) checkEKPublic() error {
	ofTemplate := func(t ekTemplate) bool { return matches(a.ekPublic, t.area) }
	if !slices.ContainsFunc(ekTemplates, ofTemplate) {
		return refuse(EKPublicMismatch, "the EK's public area is of no template of the TCG EK Credential Profile")
	}
	k, err := publicKey(a.ekPublic)
	if err != nil {
		return refuse(EKPublicMismatch, "%w", err)
	}
	if !sameKey(k, a.ekCertificate.PublicKey) {
		return refuse(EKPublicMismatch, "the EK is another key than its certificate's")
	}
	return nil
}

// checkAK says whether the attestation key, if it is in a TPM, signs no statement but
// the TPM's own: that it is in one, the binding shows. Other text it does sign, which
// [checkCertify] tells from a statement.
func (a *attestation) checkAK() error {
	attributes := a.akPublic.ObjectAttributes
	switch {
	case !attributes.Restricted:
		return refuse(AKNotRestricted, "the attestation key signs any digest")
	case !attributes.SignEncrypt || attributes.Decrypt:
		return refuse(AKUnfit, "the attestation key is not one that only signs")
	case !attributes.FixedTPM || !attributes.FixedParent || !attributes.SensitiveDataOrigin:
		return refuse(AKUnfit, "the attestation key was not made in its TPM, or may leave it")
	case a.akPublic.NameAlg != tpm2.TPMAlgSHA256 || a.akPublic.Type != tpm2.TPMAlgECC:
		return refuse(AKUnfit, "the attestation key is not an ECC key named with SHA-256")
	}
	detail, err := a.akPublic.Parameters.ECCDetail()
	if err != nil {
		return refuse(AKUnfit, "%w", err)
	}
	if detail.CurveID != tpm2.TPMECCNistP256 || detail.Scheme.Scheme != tpm2.TPMAlgECDSA {
		return refuse(AKUnfit, "the attestation key does not sign with ECDSA on P-256")
	}
	if scheme, err := detail.Scheme.Details.ECDSA(); err != nil || scheme.HashAlg != tpm2.TPMAlgSHA256 {
		return refuse(AKUnfit, "the attestation key does not sign with SHA-256")
	}
	if _, err := a.akKey(); err != nil {
		return refuse(AKUnfit, "%w", err)
	}
	return nil
}

// checkSignature verifies the attestation key's signature, which [checkAK] must
// have found to be one of ECDSA.
func (a *attestation) checkSignature() error {
	k, err := a.akKey()
	if err != nil {
		return refuse(AKUnfit, "%w", err)
	}
	if a.signature.SigAlg != tpm2.TPMAlgECDSA {
		return refuse(BadSignature, "it is not made with the attestation key's scheme")
	}
	s, err := a.signature.Signature.ECDSA()
	if err != nil || s.Hash != tpm2.TPMAlgSHA256 {
		return refuse(BadSignature, "it is not made with the attestation key's scheme")
	}
	digest := sha256.Sum256(a.evidence.Certify)
	r, t := s.SignatureR.Buffer, s.SignatureS.Buffer
	// Leading zeros may be missing, but there are none to add.
	size := k.Params().BitSize / 8
	if len(r) > size || len(t) > size || !ecdsa.Verify(k, digest[:], new(big.Int).SetBytes(r), new(big.Int).SetBytes(t)) {
		return refuse(BadSignature, "the attestation key %x did not sign this", a.akName)
	}
	return nil
}

// checkCertify says whether the TPM's statement is one about the key: its Name,
// and so everything in its public area.
func (a *attestation) checkCertify() error {
	if a.certify.Magic != tpm2.TPMGeneratedValue || a.certify.Type != tpm2.TPMSTAttestCertify {
		return refuse(NotACertify, "the TPM's statement is of type %#x, want %#x", uint16(a.certify.Type), uint16(tpm2.TPMSTAttestCertify))
	}
	certified, err := a.certify.Attested.Certify()
	if err != nil {
		return refuse(NotACertify, "%w", err)
	}
	if !bytes.Equal(certified.Name.Buffer, a.keyName) {
		return refuse(KeyNotCertified, "the TPM vouches for the key %.66x, the evidence is about %x", certified.Name.Buffer, a.keyName)
	}
	return nil
}

// checkKey says whether the key is one that was made in its TPM, stays there and
// signs what people want signed. The TPM enforces these attributes; that it
// vouched for them, [checkCertify] says.
func (a *attestation) checkKey() error {
	attributes := a.keyPublic.ObjectAttributes
	switch {
	case !attributes.SensitiveDataOrigin:
		return refuse(Imported, "the private key was made outside the TPM; copies may exist")
	case !attributes.FixedTPM || !attributes.FixedParent:
		return refuse(Duplicable, "the private key may leave the TPM, or came from another one; copies may exist")
	case !attributes.SignEncrypt:
		return refuse(KeyUnfit, "the key does not sign")
	case attributes.Restricted:
		return refuse(KeyUnfit, "the key is one for statements of the TPM itself")
	}
	return nil
}
