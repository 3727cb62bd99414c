package tpm

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"math/big"
	"testing"

	"github.com/google/go-tpm/tpm2"
)

// TestPadding: the bare private-key operation on what we pad is a signature that
// crypto/rsa takes.
func TestPadding(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	operate := func(padded []byte) []byte {
		m := new(big.Int).SetBytes(padded)
		return m.Exp(m, k.D, k.N).FillBytes(make([]byte, k.Size()))
	}
	for h := range hashes {
		digest := make([]byte, h.Size())
		rand.Read(digest)
		padded, err := order{digest, h, tpm2.TPMAlgRSASSA}.pad(2048)
		if err != nil || rsa.VerifyPKCS1v15(&k.PublicKey, h, digest, operate(padded)) != nil {
			t.Errorf("PKCS #1 v1.5, %v: %v", h, err)
		}
		padded, err = order{digest, h, tpm2.TPMAlgRSAPSS}.pad(2048)
		want := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		if err != nil || rsa.VerifyPSS(&k.PublicKey, h, digest, operate(padded), want) != nil {
			t.Errorf("PSS, %v: %v", h, err)
		}
	}
}

func TestPaddingDoesNotFit(t *testing.T) {
	digest := make([]byte, 64)
	for _, alg := range []tpm2.TPMAlgID{tpm2.TPMAlgRSASSA, tpm2.TPMAlgRSAPSS} {
		for _, bits := range []int{8, 512, 736} {
			if _, err := (order{digest, crypto.SHA512, alg}).pad(bits); !errors.Is(err, errSmallModulus) {
				t.Errorf("%v in %d bits: %v", alg, bits, err)
			}
		}
	}
}
