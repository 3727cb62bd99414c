package tpm

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// VerifyOptions say what evidence must show.
type VerifyOptions struct {
	// At is the time that VerifyEK is given and that challenges are measured by:
	// now, unless somebody checks what was true at another time. Required.
	At time.Time
	// Nonce is the one that the evidence must have been made for. If it is nil,
	// the evidence may be of any age.
	Nonce []byte
	// VerifyEK decides whether an EK certificate leads to a root that the caller
	// trusts. The intermediates are the evidence's, and hostile. Required.
	VerifyEK func(leaf *x509.Certificate, intermediates []*x509.Certificate, at time.Time) error
	// Binding says in which TPM the attestation key is.
	Binding Binding
}

// validate reports whether the options are complete.
func (o VerifyOptions) validate() error {
	switch {
	case o.VerifyEK == nil:
		return fmt.Errorf("verification trusts no EK certificate: %w", key.ErrUsage)
	case o.At.IsZero():
		return fmt.Errorf("verification has no time: %w", key.ErrUsage)
	case o.Nonce != nil && (len(o.Nonce) == 0 || len(o.Nonce) > limits.EvidenceNonce):
		return fmt.Errorf("nonce of %d octets, want 1 to %d: %w", len(o.Nonce), limits.EvidenceNonce, key.ErrUsage)
	}
	return o.Binding.validate()
}

// Verified is what evidence proved about a key: use only what is in it.
type Verified struct {
	Key       crypto.PublicKey
	ID        key.ID
	Algorithm key.Algorithm
	// Usage is empty for a key without a label of ours, such as one that another
	// program made.
	Usage key.Usage
	// Uncounted says that the TPM does not count wrong auth values for the key.
	Uncounted    bool
	Name         []byte // of the key in the TPM
	PolicyDigest []byte // the key's authPolicy: with a Usage, its label

	AKName              []byte
	EKCertificate       *x509.Certificate
	EKCertificateSHA256 string
	// BoundBy is empty only if [Binding.UnboundUnsafe] was set: then all of the
	// above may be made up, but for the EK certificate.
	BoundBy BoundBy

	// Checks are the checks that were made and passed, and NotChecked what nobody
	// should believe was checked, each a sentence for people.
	Checks, NotChecked []string
}

func (v *Verified) passed(format string, args ...any) {
	v.Checks = append(v.Checks, fmt.Sprintf(format, args...))
}

func (v *Verified) left(format string, args ...any) {
	v.NotChecked = append(v.NotChecked, fmt.Sprintf(format, args...))
}

// VerifyAttestation decides whether evidence proves that a key was made in a TPM
// and never leaves it, by the rules of docs/spec/evidence.md. It needs no device.
// It does not prove that the key has a PIN, that a person was there or that the
// machine is clean. Refusals are [*Refusal]; incomplete options are
// [key.ErrUsage].
func VerifyAttestation(e *Evidence, o VerifyOptions) (*Verified, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	a, err := parseAttestation(e)
	if err != nil {
		return nil, err
	}
	v := &Verified{EKCertificate: a.ekCertificate, EKCertificateSHA256: a.evidence.EKCertificateSHA256(), AKName: a.akName}
	for _, check := range []func(*Verified, VerifyOptions) error{
		a.verifyEK, a.verifyAK, a.verifySignature, a.verifyNonce, a.verifyKey, a.verifyBinding,
	} {
		if err := check(v, o); err != nil {
			return nil, err
		}
	}
	v.left("whether the key has a PIN, whether a person was there, what else runs on the machine: no TPM can prove it")
	return v, nil
}

func (a *attestation) verifyEK(v *Verified, o VerifyOptions) error {
	if err := o.VerifyEK(a.ekCertificate, a.intermediates, o.At); err != nil {
		return refuse(EKUntrusted, "%w", err)
	}
	v.passed("the EK certificate, SHA-256 %s, leads to a trusted root", v.EKCertificateSHA256)
	if err := a.checkEKPublic(); err != nil {
		return err
	}
	v.passed("the EK is the certificate's key, of a template of the TCG")
	return nil
}

func (a *attestation) verifyAK(v *Verified, _ VerifyOptions) error {
	if err := a.checkAK(); err != nil {
		return err
	}
	v.passed("the attestation key %s is one that, in a TPM, signs no statement but the TPM's own", formatName(a.akName))
	return nil
}

func (a *attestation) verifySignature(v *Verified, _ VerifyOptions) error {
	if err := a.checkSignature(); err != nil {
		return err
	}
	if err := a.checkCertify(); err != nil {
		return err
	}
	v.passed("the attestation key signed a statement about the key %s", formatName(a.keyName))
	return nil
}

func (a *attestation) verifyNonce(v *Verified, o VerifyOptions) error {
	signed := a.certify.ExtraData.Buffer
	if !bytes.Equal(signed, a.evidence.Nonce) {
		return refuse(NonceMismatch, "the evidence names the nonce %x, the TPM's statement has %x", a.evidence.Nonce, signed)
	}
	if o.Nonce == nil {
		v.left("when that was: no nonce was asked for, so the evidence may be old")
		return nil
	}
	if !bytes.Equal(signed, o.Nonce) {
		err := refuse(NonceMismatch, "made for the nonce %x, wanted is %x: the evidence is old, or for somebody else", signed, o.Nonce)
		if len(signed) == 0 {
			err = refuse(NonceMismatch, "made for no nonce, wanted is %x: the evidence may be old", o.Nonce)
		}
		return hint.Wrap(err, fmt.Sprintf("ask for new evidence: sealsmith key attest KEY --nonce %x", o.Nonce))
	}
	v.passed("the statement was made for the nonce %x", o.Nonce)
	return nil
}

func (a *attestation) verifyKey(v *Verified, _ VerifyOptions) error {
	if err := a.checkKey(); err != nil {
		return err
	}
	v.passed("by the statement, the key was made in the TPM and cannot leave it")
	var err error
	if v.Key, err = publicKey(a.keyPublic); err == nil {
		v.Algorithm, err = key.AlgorithmOf(v.Key)
	}
	if err == nil {
		v.ID, err = key.NewID(v.Key)
	}
	if err != nil {
		return refuse(KeyUnfit, "%w", err)
	}
	v.Name, v.PolicyDigest = a.keyName, a.keyPublic.AuthPolicy.Buffer
	v.Uncounted = a.keyPublic.ObjectAttributes.NoDA
	if v.Uncounted {
		v.passed("by the statement, the TPM does not count wrong PINs for the key: dictionary attack protection is off")
	} else {
		v.passed("by the statement, the key is under the TPM's dictionary attack protection, however that is set")
	}
	if a.keyPublic.ObjectAttributes.Decrypt {
		v.passed("by the statement, the key may also decrypt")
	}
	usage, labelled := key.UsageOfLabel(v.PolicyDigest)
	if !labelled {
		v.left("what the key is for: it has no usage label")
		return nil
	}
	v.Usage = usage
	v.passed("by the statement, the key's usage label is %s", usage)
	return nil
}
