package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/key"
)

// ekTemplate is how an endorsement key is made, and where its certificate lies
// (TCG EK Credential Profile for TPM Family 2.0, version 2.6, section 2.2.1 and
// appendix B).
type ekTemplate struct {
	name      string // in the profile
	algorithm key.Algorithm
	index     tpm2.TPMHandle // NV index of the certificate
	area      tpm2.TPMTPublic
	// nonce and template are NV indexes, of the low range only, by which a maker
	// departs from area; 0: there are none.
	nonce, template tpm2.TPMHandle
}

// ekTemplates are the endorsement keys in the order in which they are preferred:
// P-256 is what every ECC chip has and what is made anew fastest; RSA keys take an
// old chip seconds to make.
var ekTemplates = []ekTemplate{
	{"L-2", key.P256, 0x01c0000a, tpm2.ECCEKTemplate, 0x01c0000b, 0x01c0000c},
	{"H-2", key.P256, 0x01c00014, highTemplate(key.P256, tpm2.TPMAlgSHA256), 0, 0},
	{"H-3", key.P384, 0x01c00016, highTemplate(key.P384, tpm2.TPMAlgSHA384), 0, 0},
	{"L-1", key.RSA2048, 0x01c00002, tpm2.RSAEKTemplate, 0x01c00003, 0x01c00004},
	{"H-1", key.RSA2048, 0x01c00012, highTemplate(key.RSA2048, tpm2.TPMAlgSHA256), 0, 0},
	{"H-4", key.P521, 0x01c00018, highTemplate(key.P521, tpm2.TPMAlgSHA512), 0, 0},
	{"H-6", key.RSA3072, 0x01c0001c, highTemplate(key.RSA3072, tpm2.TPMAlgSHA384), 0, 0},
	{"H-7", key.RSA4096, 0x01c0001e, highTemplate(key.RSA4096, tpm2.TPMAlgSHA384), 0, 0},
}

// ekPolicies are the policies that let somebody use an endorsement key (EK
// Credential Profile, section B.6).
type ekPolicies struct {
	a string // the owner of the endorsement hierarchy; alone in the low range
	c string // whoever a policy in NV memory says
	b string // a or c: that of the high range
}

var policiesOf = map[tpm2.TPMIAlgHash]ekPolicies{
	tpm2.TPMAlgSHA256: {
		a: "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa",
		c: "3767e2edd43ff45a3a7e1eaefcef78643dca964632e7aad82c673a30d8633fde",
		b: "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0",
	},
	tpm2.TPMAlgSHA384: {
		a: "8bbf2266537c171cb56e403c4dc1d4b64f432611dc386e6f532050c3278c930e143e8bb1133824ccb431053871c6db53",
		c: "d6032ce61f2fb3c240eb3cf6a33237ef2b6a16f4293c22b455e261cffd217ad5b4947c2d73e63005eed2dc2b3593d165",
		b: "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12",
	},
	tpm2.TPMAlgSHA512: {
		a: "1e3b76502c8a1425aa0b7b3fc646a1b0fae063b03b5368f9c4cddecaff0891dd682bac1a85d4d832b781ea451915de5f" +
			"c5bf0dc4a1917cd42fa041e3f998e0ee",
		c: "589ee1e146544716e8deafe6db247b01b81e9f9c7dd16b814aa159138749105fba5388dd1dea702f35240c184933121e" +
			"2c61b8f50d3ef91393a49a38c3f73fc8",
		b: "b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a429c41a6b269571d57edb25fbdb183842" +
			"5608b413cd616a5f6db5b6071af99bea",
	},
}

// policyDigest is one of the digests above.
func policyDigest(text string) tpm2.TPM2BDigest {
	digest, err := hex.DecodeString(text)
	if err != nil {
		panic(err) // it is ours
	}
	return tpm2.TPM2BDigest{Buffer: digest}
}

// highTemplate is a storage key of the high range (section B.4): its unique field
// is empty, and its auth value, which is empty too, is another way to use it.
func highTemplate(alg key.Algorithm, hash tpm2.TPMIAlgHash) tpm2.TPMTPublic {
	t := tpm2.TPMTPublic{
		NameAlg: hash,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, AdminWithPolicy: true, Restricted: true, Decrypt: true,
		},
		AuthPolicy: policyDigest(policiesOf[hash].b),
	}
	bits := tpm2.TPMKeyBits(128)
	if hash != tpm2.TPMAlgSHA256 {
		bits = 256
	}
	wrap := tpm2.TPMTSymDefObject{
		Algorithm: tpm2.TPMAlgAES,
		KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, bits),
		Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
	}
	if size, isRSA := rsaSizes[alg]; isRSA {
		t.Type = tpm2.TPMAlgRSA
		t.Parameters = tpm2.NewTPMUPublicParms(t.Type, &tpm2.TPMSRSAParms{Symmetric: wrap, KeyBits: size})
		t.Unique = tpm2.NewTPMUPublicID(t.Type, &tpm2.TPM2BPublicKeyRSA{})
	} else {
		t.Type = tpm2.TPMAlgECC
		t.Parameters = tpm2.NewTPMUPublicParms(t.Type, &tpm2.TPMSECCParms{Symmetric: wrap, CurveID: curves[alg]})
		t.Unique = tpm2.NewTPMUPublicID(t.Type, &tpm2.TPMSECCPoint{})
	}
	return t
}

// endorsementArea is the public area of the endorsement key that has this public
// key and was made from t. It fails if t makes no such key.
func endorsementArea(t tpm2.TPMTPublic, pub crypto.PublicKey) (*tpm2.TPMTPublic, error) {
	area := t
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		encoded, err := pub.Bytes()
		if err != nil {
			return nil, err
		}
		x, y := encoded[1:1+len(encoded)/2], encoded[1+len(encoded)/2:]
		area.Type = tpm2.TPMAlgECC
		area.Unique = tpm2.NewTPMUPublicID(area.Type, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: x}, Y: tpm2.TPM2BECCParameter{Buffer: y},
		})
	case *rsa.PublicKey:
		area.Type = tpm2.TPMAlgRSA
		area.Unique = tpm2.NewTPMUPublicID(area.Type, &tpm2.TPM2BPublicKeyRSA{Buffer: pub.N.Bytes()})
	default:
		return nil, fmt.Errorf("public key of type %T", pub)
	}
	if area.Type != t.Type {
		return nil, errors.New("another kind of key than the template's")
	}
	same, err := publicKey(&area) // the curve or size is that of the template
	if err != nil {
		return nil, err
	}
	if !sameKey(same, pub) {
		return nil, errors.New("another key than the template makes")
	}
	return &area, nil
}

// sameKey compares keys, not their octets: some TPMs leave leading zeros out.
func sameKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
