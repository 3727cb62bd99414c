package tpm_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// forged is a TPM that does not exist: an attestation key and keys in software.
type forged struct{ ak *ecdsa.PrivateKey }

// softwareArea gives a public area the key of somebody who has it in software.
func softwareArea(area tpm2.TPMTPublic, k *ecdsa.PrivateKey) []byte {
	encoded, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: encoded[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: encoded[33:]},
	})
	return tpm2.Marshal(area)
}

// attest takes a real TPM's evidence and puts software keys in the place of all
// but the EK: everything else is consistent.
func (f forged) attest(t *testing.T, real *tpm.Evidence) *tpm.Evidence {
	t.Helper()
	e := *real
	e.AKPublic = softwareArea(akTemplate(), f.ak)
	e.KeyPublic = softwareArea(keyTemplate(key.Artifact), softwareKey(t))
	statement, err := tpm2.Unmarshal[tpm2.TPMSAttest](e.Certify)
	if err != nil {
		t.Fatal(err)
	}
	statement.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{Name: areaName(t, e.KeyPublic), QualifiedName: areaName(t, e.KeyPublic)})
	e.Certify = tpm2.Marshal(statement)
	e.Signature = f.sign(t, e.Certify)
	return &e
}

func (f forged) sign(t *testing.T, statement []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(statement)
	r, s, err := ecdsa.Sign(rand.Reader, f.ak, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return tpm2.Marshal(tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
		Hash:       tpm2.TPMAlgSHA256,
		SignatureR: tpm2.TPM2BECCParameter{Buffer: r.FillBytes(make([]byte, 32))},
		SignatureS: tpm2.TPM2BECCParameter{Buffer: s.FillBytes(make([]byte, 32))},
	})})
}

func areaName(t *testing.T, area []byte) tpm2.TPM2BName {
	t.Helper()
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](area)
	if err != nil {
		t.Fatal(err)
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		t.Fatal(err)
	}
	return *name
}
