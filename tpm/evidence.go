package tpm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Evidence is what a TPM says about a key in it (docs/spec/evidence.md). It says
// nothing before [VerifyAttestation].
type Evidence struct {
	Nonce           []byte   // qualifyingData of TPM2_Certify; empty: none was given
	EKCertificate   []byte   // DER
	EKIntermediates [][]byte // DER; those that the TPM itself holds
	EKPublic        []byte   // TPMT_PUBLIC of the endorsement key
	AKPublic        []byte   // TPMT_PUBLIC of the attestation key
	KeyPublic       []byte   // TPMT_PUBLIC of the key that is attested
	Certify         []byte   // TPMS_ATTEST over it
	Signature       []byte   // TPMT_SIGNATURE of the attestation key over Certify
}

const (
	evidenceFormat = "sealsmith evidence v1"
	evidenceKind   = "tpm2"
)

type evidenceJSON struct {
	Format string   `json:"format"`
	Kind   string   `json:"kind"`
	Nonce  []byte   `json:"nonce"`
	TPM2   tpm2JSON `json:"tpm2"`
}

type tpm2JSON struct {
	EKCertificate   []byte   `json:"ek_certificate"`
	EKIntermediates [][]byte `json:"ek_intermediates,omitempty"`
	EKPublic        []byte   `json:"ek_public"`
	AKPublic        []byte   `json:"ak_public"`
	KeyPublic       []byte   `json:"key_public"`
	Certify         []byte   `json:"certify"`
	Signature       []byte   `json:"signature"`
}

// ParseEvidence reads evidence. What it holds is bounded and otherwise not looked
// at. Its error is a [*Refusal] as [Malformed].
func ParseEvidence(data []byte) (*Evidence, error) {
	var j evidenceJSON
	if err := parseDocument(data, limits.Evidence, evidenceFormat, &j); err != nil {
		return nil, refuse(Malformed, "evidence: %w", err)
	}
	e := &Evidence{
		j.Nonce, j.TPM2.EKCertificate, j.TPM2.EKIntermediates, j.TPM2.EKPublic,
		j.TPM2.AKPublic, j.TPM2.KeyPublic, j.TPM2.Certify, j.TPM2.Signature,
	}
	if j.Kind != evidenceKind {
		return nil, refuse(Malformed, "evidence of kind %.80q, want %q", j.Kind, evidenceKind)
	}
	if j.Nonce == nil {
		return nil, refuse(Malformed, "evidence: the nonce is null")
	}
	if err := e.check(); err != nil {
		return nil, refuse(Malformed, "evidence: %w", err)
	}
	return e, nil
}

// Encode writes evidence that [ParseEvidence] reads back.
func (e *Evidence) Encode() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return encodeDocument(limits.Evidence, evidenceJSON{evidenceFormat, evidenceKind, octets(e.Nonce), tpm2JSON{
		e.EKCertificate, e.EKIntermediates, e.EKPublic, e.AKPublic, e.KeyPublic, e.Certify, e.Signature,
	}})
}

// EKCertificateSHA256 names the TPM that the evidence is said to come from, in
// hexadecimal.
func (e *Evidence) EKCertificateSHA256() string {
	sum := sha256.Sum256(e.EKCertificate)
	return hex.EncodeToString(sum[:])
}

// check finds what is missing or too long.
func (e *Evidence) check() error {
	switch {
	case len(e.Nonce) > limits.EvidenceNonce:
		return fmt.Errorf("nonce of %d octets, at most %d", len(e.Nonce), limits.EvidenceNonce)
	case len(e.EKIntermediates) > limits.EvidenceIntermediates:
		return fmt.Errorf("%d intermediate certificates, at most %d", len(e.EKIntermediates), limits.EvidenceIntermediates)
	}
	parts := append([][]byte{e.EKCertificate, e.EKPublic, e.AKPublic, e.KeyPublic, e.Certify, e.Signature}, e.EKIntermediates...)
	for _, part := range parts {
		if len(part) == 0 {
			return errors.New("a part is empty")
		}
	}
	return nil
}

// parseDocument decodes one of the documents of docs/spec/evidence.md. But for
// white space each has one form, the one that encodeDocument writes, so comparing
// finds whatever two readers could understand differently: unknown, repeated,
// missing and oddly spelt members, null, other base64, text behind the object.
// The format is looked at first, for people swap these files.
func parseDocument[T any](data []byte, most int, format string, into *T) error {
	if len(data) > most {
		return fmt.Errorf("longer than %d bytes", most)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%.200q", err.Error())
	}
	var head struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("%.200q", err.Error())
	}
	if head.Format != format {
		return fmt.Errorf("the format is %.80q, want %q", head.Format, format)
	}
	var given bytes.Buffer
	if err := json.Compact(&given, data); err != nil {
		return err
	}
	again, err := json.Marshal(into)
	if err != nil {
		return err
	}
	if !bytes.Equal(given.Bytes(), again) {
		return errors.New("members are unknown, repeated, missing, in another order or in another encoding")
	}
	return nil
}

func encodeDocument(most int, document any) ([]byte, error) {
	data, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return nil, err
	}
	if len(data) >= most {
		return nil, fmt.Errorf("document of %d bytes, at most %d", len(data), most)
	}
	return append(data, '\n'), nil
}

// octets makes JSON of nothing "", not null.
func octets(b []byte) []byte { return append([]byte{}, b...) }
