package tpm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

var _ key.Attester = (*signer)(nil)

// Attest implements [key.Attester]: TPM2_Certify of the key by the TPM's attestation
// key, which is made with the first evidence. The evidence names the machine: it
// has the EK certificate. Its errors wrap [key.ErrUnsupported] for a key that was
// imported and for a TPM without an EK certificate.
func (s *signer) Attest(ctx context.Context, nonce []byte) ([]byte, error) {
	switch {
	case len(nonce) > limits.EvidenceNonce:
		return nil, fmt.Errorf("nonce of %d octets, at most %d: %w", len(nonce), limits.EvidenceNonce, key.ErrUsage)
	case s.key.unfit != nil:
		return nil, s.key.unfit
	case s.key.info.Imported:
		return nil, hint.Wrap(fmt.Errorf("attest %s: it was not made in this TPM, or may leave it: %w", s.key.info.Ref, key.ErrUnsupported),
			"no verifier accepts evidence about such a key; make a new one with: sealsmith key create")
	}
	e, err := s.endorsement(ctx)
	if err != nil {
		return nil, fmt.Errorf("attest %s: %w", s.key.info.Ref, err)
	}
	e.Nonce, e.KeyPublic = nonce, s.key.object.public
	use := func(pin []byte) error {
		return s.run(ctx, func(c *chip) error { return c.certify(e, s.key.object, pin) })
	}
	if s.key.info.Policy.PIN {
		err = s.withPIN(ctx, s.backend.auth, use)
		if err == nil && e.Signature == nil {
			err = fmt.Errorf("no PIN was given: %w", key.ErrDenied)
		}
	} else {
		err = use(nil)
	}
	if err != nil {
		return nil, fmt.Errorf("attest %s: %w", s.key.info.Ref, err)
	}
	return e.Encode()
}

// endorsement begins the evidence: it finds the best endorsement key, and sees that
// there is an attestation key, before a person is asked for a PIN.
func (s *signer) endorsement(ctx context.Context) (*Evidence, error) {
	var e *Evidence
	err := s.run(ctx, func(c *chip) error {
		return c.explain(c.attempt(true, func() error {
			ek, err := c.usableEK(func(EK) bool { return true })
			if err != nil {
				return err
			}
			e = &Evidence{EKCertificate: ek.Certificate, EKIntermediates: ek.Intermediates, EKPublic: ek.Public}
			return c.withAK(func(*object, tpm2.TPMHandle) error { return nil })
		}))
	})
	return e, err
}

// certify has the attestation key vouch for a key of ours, and completes the
// evidence. auth is the PIN, or nil.
func (c *chip) certify(e *Evidence, o *object, auth []byte) error {
	return c.withKey(o, auth, func(handle tpm2.TPMHandle) error {
		return c.withAK(func(ak *object, akHandle tpm2.TPMHandle) error {
			return c.session.with(auth, func() error {
				rsp, err := execute(c, tpm2.Certify{
					ObjectHandle:   tpm2.AuthHandle{Handle: handle, Name: tpm2.TPM2BName{Buffer: []byte(o.name)}, Auth: c.session},
					SignHandle:     tpm2.AuthHandle{Handle: akHandle, Name: tpm2.TPM2BName{Buffer: []byte(ak.name)}, Auth: tpm2.PasswordAuth(nil)},
					QualifyingData: tpm2.TPM2BData{Buffer: e.Nonce},
					InScheme:       tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
				})
				if err != nil {
					return c.explainAuth(err, auth)
				}
				e.AKPublic, e.Certify, e.Signature = ak.public, rsp.CertifyInfo.Bytes(), tpm2.Marshal(rsp.Signature)
				return checkCertify(e, ak, o, rsp)
			})
		})
	})
}

// checkCertify sees that the answer is what was asked for. The session's HMAC says
// that it came from the TPM; this finds a TPM, or us, in error before a verifier
// does.
func checkCertify(e *Evidence, ak, o *object, rsp *tpm2.CertifyResponse) error {
	said, err := rsp.CertifyInfo.Contents()
	if err != nil {
		return fmt.Errorf("the TPM's statement: %w", err)
	}
	if said.Type != tpm2.TPMSTAttestCertify || !bytes.Equal(said.ExtraData.Buffer, e.Nonce) {
		return errors.New("the TPM made another statement than it was asked for")
	}
	about, err := said.Attested.Certify()
	if err != nil || string(about.Name.Buffer) != o.name {
		return errors.New("the TPM made its statement about another key")
	}
	public, err := parsePublic(ak.public)
	if err != nil {
		return err
	}
	pub, err := publicKey(public)
	if err != nil {
		return err
	}
	signature, err := rsp.Signature.Signature.ECDSA()
	if err != nil {
		return fmt.Errorf("the attestation key's signature: %w", err)
	}
	digest := sha256.Sum256(e.Certify)
	r, sv := new(big.Int).SetBytes(signature.SignatureR.Buffer), new(big.Int).SetBytes(signature.SignatureS.Buffer)
	if k, isEC := pub.(*ecdsa.PublicKey); !isEC || !ecdsa.Verify(k, digest[:], r, sv) {
		return errors.New("the attestation key's signature is wrong")
	}
	return nil
}
