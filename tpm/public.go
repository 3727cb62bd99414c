package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/key"
)

// parsePublic parses a TPMT_PUBLIC as parseStructure does.
func parsePublic(area []byte) (*tpm2.TPMTPublic, error) {
	public, err := parseStructure[tpm2.TPMTPublic](area)
	if err != nil {
		return nil, fmt.Errorf("public area: %w", err)
	}
	return public, nil
}

// parseStructure parses a TPM structure that is nothing but itself: it encodes to
// the same bytes again. go-tpm panics on some malformed ones.
func parseStructure[T tpm2.Marshallable, P interface {
	*T
	tpm2.Unmarshallable
}](data []byte) (parsed *T, err error) {
	defer func() {
		if p := recover(); p != nil {
			parsed, err = nil, fmt.Errorf("malformed structure: %v", p)
		}
	}()
	parsed, err = tpm2.Unmarshal[T, P](data)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(tpm2.Marshal(*parsed), data) {
		return nil, errors.New("structure has bytes that mean nothing")
	}
	return parsed, nil
}

// publicKey converts a public area to the key that it describes. It fails with
// [key.ErrUnsupported] for what we do not sign with, and for values that are no
// key at all.
func publicKey(public *tpm2.TPMTPublic) (crypto.PublicKey, error) {
	switch public.Type {
	case tpm2.TPMAlgECC:
		detail, err := public.Parameters.ECCDetail()
		if err != nil {
			return nil, err
		}
		point, err := public.Unique.ECC()
		if err != nil {
			return nil, err
		}
		return ecKey(detail.CurveID, point)
	case tpm2.TPMAlgRSA:
		detail, err := public.Parameters.RSADetail()
		if err != nil {
			return nil, err
		}
		modulus, err := public.Unique.RSA()
		if err != nil {
			return nil, err
		}
		return rsaKey(detail, modulus.Buffer)
	case tpm2.TPMAlgKeyedHash:
		return nil, fmt.Errorf("sealed data, not a key that signs: %w", key.ErrUnsupported)
	}
	return nil, fmt.Errorf("key type %#x: %w", uint16(public.Type), key.ErrUnsupported)
}

func ecKey(id tpm2.TPMECCCurve, point *tpm2.TPMSECCPoint) (crypto.PublicKey, error) {
	var curve elliptic.Curve
	switch id {
	case tpm2.TPMECCNistP256:
		curve = elliptic.P256()
	case tpm2.TPMECCNistP384:
		curve = elliptic.P384()
	case tpm2.TPMECCNistP521:
		curve = elliptic.P521()
	default:
		return nil, fmt.Errorf("curve %#x: %w", uint16(id), key.ErrUnsupported)
	}
	size := (curve.Params().BitSize + 7) / 8
	encoded := []byte{4} // SEC 1, section 2.3.3: not compressed
	for _, coordinate := range [][]byte{point.X.Buffer, point.Y.Buffer} {
		if len(coordinate) > size {
			return nil, fmt.Errorf("coordinate of %d bytes", len(coordinate))
		}
		// Some TPMs leave leading zeros out.
		encoded = append(encoded, make([]byte, size-len(coordinate))...)
		encoded = append(encoded, coordinate...)
	}
	return ecdsa.ParseUncompressedPublicKey(curve, encoded)
}

func rsaKey(detail *tpm2.TPMSRSAParms, modulus []byte) (crypto.PublicKey, error) {
	k := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537} // 0 means the default (part 2, 12.2.3.5)
	if detail.Exponent > math.MaxInt32 {
		// crypto/rsa takes no larger one.
		return nil, fmt.Errorf("RSA key with the exponent %d: %w", detail.Exponent, key.ErrUnsupported)
	}
	if detail.Exponent != 0 {
		k.E = int(detail.Exponent)
	}
	if k.N.BitLen() != int(detail.KeyBits) || k.N.Bit(0) == 0 || k.E < 65537 || k.E&1 == 0 {
		return nil, errors.New("modulus or exponent is not that of an RSA key")
	}
	return k, nil
}

// template is the public area that a new key is made from. Its policy is a label
// that nothing satisfies; its use is authorised by the auth value. A key without
// a PIN is exempt from the dictionary lockout: it has nothing to guess.
func template(alg key.Algorithm, usage key.Usage, pin bool) tpm2.TPMTPublic {
	label := usage.Label()
	t := tpm2.TPMTPublic{
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: !pin, SignEncrypt: true,
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: label[:]},
		Parameters: parameters(alg),
	}
	if alg.RSA() {
		t.Type = tpm2.TPMAlgRSA
		t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
	} else {
		t.Type = tpm2.TPMAlgECC
		t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	}
	return t
}

// parameters leave the scheme open, so that one key serves all hashes.
func parameters(alg key.Algorithm) tpm2.TPMUPublicParms {
	if bits, isRSA := rsaSizes[alg]; isRSA {
		return tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: bits})
	}
	return tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: curves[alg]})
}

var (
	rsaSizes = map[key.Algorithm]tpm2.TPMKeyBits{key.RSA2048: 2048, key.RSA3072: 3072, key.RSA4096: 4096}
	curves   = map[key.Algorithm]tpm2.TPMECCCurve{
		key.P256: tpm2.TPMECCNistP256, key.P384: tpm2.TPMECCNistP384, key.P521: tpm2.TPMECCNistP521,
	}
)

// matches says whether public is what the TPM may make from t: the same but for
// the key itself.
func matches(public *tpm2.TPMTPublic, t tpm2.TPMTPublic) bool {
	blank := *public
	blank.Unique = t.Unique
	return blank.Type == t.Type && bytes.Equal(tpm2.Marshal(blank), tpm2.Marshal(t))
}
