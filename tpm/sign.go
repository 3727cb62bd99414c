package tpm

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/sealsmith/sealsmith/key"
)

// hashes are those that we sign with. SHA-1 is not among them.
var hashes = map[crypto.Hash]tpm2.TPMIAlgHash{
	crypto.SHA256: tpm2.TPMAlgSHA256,
	crypto.SHA384: tpm2.TPMAlgSHA384,
	crypto.SHA512: tpm2.TPMAlgSHA512,
}

// order is one signature to make, in the TPM's terms.
type order struct {
	digest []byte
	hash   crypto.Hash
	scheme tpm2.TPMAlgID
}

// newOrder says what TPM2_Sign must do, and refuses a digest that does not fit.
func newOrder(alg key.Algorithm, digest []byte, opts crypto.SignerOpts) (order, error) {
	if opts == nil || opts.HashFunc() == 0 {
		return order{}, fmt.Errorf("no hash was named: %w", key.ErrUsage)
	}
	h := opts.HashFunc()
	if _, known := hashes[h]; !known {
		return order{}, fmt.Errorf("hash %v: %w", h, key.ErrUnsupported)
	}
	if len(digest) != h.Size() {
		return order{}, fmt.Errorf("digest of %d bytes for %v: %w", len(digest), h, key.ErrUsage)
	}
	pss, isPSS := opts.(*rsa.PSSOptions)
	switch {
	case !alg.RSA() && isPSS:
		return order{}, fmt.Errorf("RSA-PSS with a key of %s: %w", alg, key.ErrUsage)
	case !alg.RSA():
		digest, h = cutDigest(alg, digest, h)
		return order{digest, h, tpm2.TPMAlgECDSA}, nil
	case !isPSS:
		return order{digest, h, tpm2.TPMAlgRSASSA}, nil
	}
	// The TPM chooses the salt's length, see checkPSS.
	if s := pss.SaltLength; s != rsa.PSSSaltLengthAuto && s != rsa.PSSSaltLengthEqualsHash && s != h.Size() {
		return order{}, fmt.Errorf("PSS salt of %d bytes: %w", s, key.ErrUnsupported)
	}
	return order{digest, h, tpm2.TPMAlgRSAPSS}, nil
}

// cutDigest shortens a digest to the bits that ECDSA uses: the leftmost ones, as
// many as the curve's order has (FIPS 186-5, section 6.4.1). The signature is the
// same, and the TPM needs no longer hash than the curve's own.
func cutDigest(alg key.Algorithm, digest []byte, h crypto.Hash) ([]byte, crypto.Hash) {
	if own := alg.Hash(); own.Size() < h.Size() {
		return digest[:own.Size()], own
	}
	return digest, h
}

// sign makes one signature; in the steady state it is one command. auth is the
// PIN, or nil.
func (c *chip) sign(o *object, w order, auth []byte) (*tpm2.TPMTSignature, error) {
	var signature *tpm2.TPMTSignature
	err := c.withKey(o, auth, func(handle tpm2.TPMHandle) error {
		return c.session.with(auth, func() (err error) {
			signature, err = c.signHere(handle, o, w)
			return c.explainAuth(err, auth)
		})
	})
	return signature, err
}

// encodeSignature turns the TPM's signature into the form of [key.Signer].
func encodeSignature(s *tpm2.TPMTSignature, size int) ([]byte, error) {
	switch s.SigAlg {
	case tpm2.TPMAlgECDSA:
		ec, err := s.Signature.ECDSA()
		if err != nil {
			return nil, err
		}
		var b cryptobyte.Builder
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1BigInt(new(big.Int).SetBytes(ec.SignatureR.Buffer))
			b.AddASN1BigInt(new(big.Int).SetBytes(ec.SignatureS.Buffer))
		})
		return b.Bytes()
	case tpm2.TPMAlgRSASSA, tpm2.TPMAlgRSAPSS:
		raw, err := s.Signature.RSASSA()
		if s.SigAlg == tpm2.TPMAlgRSAPSS {
			raw, err = s.Signature.RSAPSS()
		}
		if err != nil {
			return nil, err
		}
		if len(raw.Sig.Buffer) != size {
			return nil, fmt.Errorf("RSA signature of %d bytes", len(raw.Sig.Buffer))
		}
		return raw.Sig.Buffer, nil
	}
	return nil, errors.New("unknown signature algorithm")
}

// checkPSS refuses a signature whose salt is not as long as the hash: some TPMs
// take the longest salt that fits, which SSH, X.509 and Sigstore do not accept.
func checkPSS(pub crypto.PublicKey, digest, signature []byte, opts crypto.SignerOpts) error {
	k, isRSA := pub.(*rsa.PublicKey)
	if _, isPSS := opts.(*rsa.PSSOptions); !isRSA || !isPSS {
		return nil
	}
	want := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: opts.HashFunc()}
	if err := rsa.VerifyPSS(k, opts.HashFunc(), digest, signature, want); err != nil {
		return fmt.Errorf("RSA-PSS of this TPM: salt length: %w", key.ErrUnsupported)
	}
	return nil
}
