package tpm_test

import (
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/tpmtest"
)

// writeNV makes an index as the makers of TPMs do.
func writeNV(t *testing.T, chip *tpmtest.TPM, index tpm2.TPMHandle, data []byte) {
	t.Helper()
	writeIndex(t, chip, index, tpm2.TPMANV{AuthRead: true, OwnerWrite: true, OwnerRead: true, NoDA: true}, nil, data)
}

// writeIndex does so with attributes and an auth value.
func writeIndex(t *testing.T, chip *tpmtest.TPM, index tpm2.TPMHandle, attributes tpm2.TPMANV, auth, data []byte) {
	t.Helper()
	_, err := tpm2.NVDefineSpace{
		AuthHandle: tpm2.TPMRHOwner, Auth: tpm2.TPM2BAuth{Buffer: auth},
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: uint16(len(data)), Attributes: attributes,
		}),
	}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	public, err := tpm2.NVReadPublic{NVIndex: index}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	for offset := 0; offset < len(data); offset += 1024 {
		_, err := tpm2.NVWrite{
			AuthHandle: tpm2.TPMRHOwner,
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: public.NVName},
			Data:       tpm2.TPM2BMaxNVBuffer{Buffer: data[offset:min(offset+1024, len(data))]},
			Offset:     uint16(offset),
		}.Execute(chip)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestCountedIndex: an index with an auth value that somebody set, and whose wrong
// ones the TPM counts, is read as the owner. The chip fails a test that leaves the
// lockout's counter raised.
func TestCountedIndex(t *testing.T) {
	t.Parallel()
	chip, m := tpmtest.StartProvisioned(t), newTestCA(t)
	attributes := tpm2.TPMANV{AuthRead: true, OwnerWrite: true, OwnerRead: true}
	writeIndex(t, chip, 0x01c00100, attributes, []byte("somebody's"), m.certify("one", &m.key.PublicKey))
	keys, err := chip.Open().EndorsementKeys(t.Context())
	if err != nil || len(keys) == 0 || len(keys[0].Intermediates) != 1 {
		t.Errorf("%+v, %v", keys, err)
	}
}
