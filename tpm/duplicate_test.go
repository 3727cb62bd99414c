package tpm_test

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestImportOfATPMsDuplicate: wrapped by TPM2_Duplicate of another TPM, so by none
// of our code, for the storage primary and for other software's RSA one.
func TestImportOfATPMsDuplicate(t *testing.T) {
	g := newTarget(t, nil)
	h1 := tpm2.RSASRKTemplate
	h1.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
	for name, template := range map[string]tpm2.TPMTPublic{"ecc": tpm.StorageTemplate(), "rsa": h1} {
		primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(g.chip)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (tpm2.FlushContext{FlushHandle: primary.ObjectHandle}).Execute(g.chip); err != nil {
			t.Fatal(err)
		}
		public, private, seed := duplicated(t, tpmtest.Start(t), primary.OutPublic)
		s := g.mustImport(t, name, tpm.ImportableFile(name == "rsa", public, private, seed))
		if in := s.Info(); !in.Imported || in.Usage != key.SSH || in.Parent != hex.EncodeToString(primary.Name.Buffer) {
			t.Errorf("info %+v", in)
		}
		mustSign(t, s)
	}
}

// duplicated makes a key in a TPM that its policy allows to leave, and has the TPM
// wrap it for a storage key.
func duplicated(t *testing.T, chip *tpmtest.TPM, parent tpm2.TPM2BPublic) (public, private, seed []byte) {
	t.Helper()
	trial, closeTrial, err := tpm2.PolicySession(chip, tpm2.TPMAlgSHA256, 16, tpm2.Trial())
	if err != nil {
		t.Fatal(err)
	}
	allow := tpm2.PolicyCommandCode{PolicySession: trial.Handle(), Code: tpm2.TPMCCDuplicate}
	if _, err := allow.Execute(chip); err != nil {
		t.Fatal(err)
	}
	policy, err := tpm2.PolicyGetDigest{PolicySession: trial.Handle()}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	if err := closeTrial(); err != nil {
		t.Fatal(err)
	}
	made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, SignEncrypt: true},
		AuthPolicy:       policy.PolicyDigest,
		Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256}),
		Unique:           tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	})}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: made.ObjectHandle}.Execute(chip)
	loaded, err := tpm2.LoadExternal{InPublic: parent, Hierarchy: tpm2.TPMRHNull}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: loaded.ObjectHandle}.Execute(chip)
	rsp, err := tpm2.Duplicate{
		ObjectHandle: tpm2.AuthHandle{
			Handle: made.ObjectHandle, Name: made.Name,
			Auth: tpm2.Policy(tpm2.TPMAlgSHA256, 16, func(chip transport.TPM, h tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
				_, err := tpm2.PolicyCommandCode{PolicySession: h, Code: tpm2.TPMCCDuplicate}.Execute(chip)
				return err
			}),
		},
		NewParentHandle: tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name},
		Symmetric:       tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
	}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	return made.OutPublic.Bytes(), rsp.Duplicate.Buffer, rsp.OutSymSeed.Buffer
}
