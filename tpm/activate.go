package tpm

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// Answer has the TPM read the secret of a challenge, which proves that the
// endorsement key and the attestation key are in one TPM. A challenge of another
// attestation key than the device's is refused before anything is asked of the
// endorsement key. Errors wrap [key.ErrForeign] for a challenge of another TPM, and
// [key.ErrUsage] for one that is not well made.
func (d *Device) Answer(ctx context.Context, challenge *Challenge) (*Answer, error) {
	if err := challenge.check(); err != nil {
		return nil, fmt.Errorf("challenge: %w: %w", err, key.ErrUsage)
	}
	var secret []byte
	err := d.run(ctx, func(c *chip) error {
		return c.explain(c.attempt(true, func() (err error) {
			secret, err = c.answer(challenge)
			return err
		}))
	})
	if err != nil {
		return nil, fmt.Errorf("answer the challenge: %w", err)
	}
	return &Answer{AKName: challenge.AKName, Secret: secret}, nil
}

func (c *chip) answer(challenge *Challenge) (secret []byte, err error) {
	o, _, err := akFile{c.pins.dir, c.pins.device}.read()
	if err != nil {
		return nil, err
	}
	if o == nil || formatName([]byte(o.name)) != challenge.AKName {
		return nil, hint.Wrap(fmt.Errorf("it is about another attestation key than this device's: %w", key.ErrForeign),
			"make new evidence with sealsmith key attest, and have it challenged")
	}
	ek, err := c.usableEK(func(k EK) bool { return k.SHA256 == challenge.EKCertificateSHA256 })
	if err != nil {
		return nil, err
	}
	err = c.withAK(func(ak *object, handle tpm2.TPMHandle) error {
		if ak.name != o.name {
			return fmt.Errorf("it is about an attestation key that was replaced: %w", key.ErrForeign)
		}
		return c.withEK(ek, func(endorser tpm2.NamedHandle) error {
			return c.withEKAuth(ek, func(auth tpm2.Session) error {
				return c.session.withSecretAnswer(func() error {
					secret, err = c.activate(ak, handle, tpm2.AuthHandle{Handle: endorser.Handle, Name: endorser.Name, Auth: auth}, challenge)
					return err
				})
			})
		})
	})
	return secret, err
}

// activate runs TPM2_ActivateCredential. The kept session authorises the
// attestation key, and encrypts what comes back.
func (c *chip) activate(ak *object, handle tpm2.TPMHandle, endorser tpm2.AuthHandle, challenge *Challenge) ([]byte, error) {
	rsp, err := execute(c, tpm2.ActivateCredential{
		ActivateHandle: tpm2.AuthHandle{Handle: handle, Name: tpm2.TPM2BName{Buffer: []byte(ak.name)}, Auth: c.session},
		KeyHandle:      endorser,
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: challenge.Credential},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: challenge.Secret},
	})
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return nil, hint.Wrap(fmt.Errorf("use the endorsement key: %w", err),
			"the endorsement key that the TPM keeps has a password of its own, which sealsmith does not ask for")
	}
	var code tpm2.TPMRC
	if errors.As(err, &code) && !code.IsWarning() && !isGone(err) {
		// Which code says so depends on the TPM; swtpm's is that of a broken one.
		return nil, hint.Wrap(fmt.Errorf("the TPM cannot read it (code %#x): %w", uint32(code), key.ErrForeign),
			"it was made for another TPM, or is damaged; have new evidence challenged")
	}
	if err != nil {
		return nil, err
	}
	return rsp.CertInfo.Buffer, nil
}

// withEKAuth lends f what authorises the use of an endorsement key: its policy,
// which the endorsement hierarchy satisfies, or its empty auth value if that has a
// password. The policy comes first: it is not subject to the dictionary lockout, so
// that neither a lockout stops it nor a power cut while it is used counts as a wrong
// PIN.
func (c *chip) withEKAuth(k EK, f func(tpm2.Session) error) (err error) {
	nonce := make([]byte, nonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	rsp, err := execute(c, tpm2.StartAuthSession{
		TPMKey:      tpm2.TPMRHNull,
		Bind:        tpm2.TPMRHNull,
		NonceCaller: tpm2.TPM2BNonce{Buffer: nonce},
		SessionType: tpm2.TPMSEPolicy,
		Symmetric:   tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
		AuthHash:    k.area.NameAlg,
	})
	if err != nil {
		return fmt.Errorf("start policy session: %w", err)
	}
	s := &policySession{tpm2.TPMHandle(rsp.SessionHandle.HandleValue()), nonce, rsp.NonceTPM}
	defer func() {
		if lost := c.flush(s.handle); err == nil {
			err = lost
		}
	}()
	err = c.satisfy(k, s)
	if (errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail)) && k.area.ObjectAttributes.UserWithAuth {
		return f(tpm2.PasswordAuth(nil))
	}
	if err != nil {
		return fmt.Errorf("policy of the endorsement key: %w", endorsementAuth(err))
	}
	return f(s)
}

// satisfy runs the policy of an endorsement key: policy A, or policy B by way of it.
func (c *chip) satisfy(k EK, s *policySession) error {
	_, err := execute(c, tpm2.PolicySecret{
		AuthHandle:    tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		PolicySession: s.handle,
		NonceTPM:      s.nonceTPM,
	})
	policies, known := policiesOf[k.area.NameAlg]
	if err != nil || !known || !bytes.Equal(k.area.AuthPolicy.Buffer, policyDigest(policies.b).Buffer) {
		return err
	}
	_, err = execute(c, tpm2.PolicyOr{
		PolicySession: s.handle,
		PHashList:     tpm2.TPMLDigest{Digests: []tpm2.TPM2BDigest{policyDigest(policies.a), policyDigest(policies.c)}},
	})
	return err
}

// policySession authorises by its policy alone: it has no key, and its HMACs are
// empty (TPM 2.0 part 1, section 19.6.15).
type policySession struct {
	handle   tpm2.TPMHandle
	nonce    []byte
	nonceTPM tpm2.TPM2BNonce
}

var _ tpm2.Session = (*policySession)(nil)

// Init implements [tpm2.Session].
func (s *policySession) Init(transport.TPM) error { return nil }

// CleanupFailure implements [tpm2.Session]: who started the session ends it.
func (s *policySession) CleanupFailure(transport.TPM) error { return nil }

// NonceTPM implements [tpm2.Session].
func (s *policySession) NonceTPM() tpm2.TPM2BNonce { return s.nonceTPM }

// NewNonceCaller implements [tpm2.Session].
func (s *policySession) NewNonceCaller() error { return nil }

// Authorize implements [tpm2.Session].
func (s *policySession) Authorize(tpm2.TPMCC, []byte, []byte, []tpm2.TPM2BName, int) (*tpm2.TPMSAuthCommand, error) {
	return &tpm2.TPMSAuthCommand{
		Handle: s.handle, Nonce: tpm2.TPM2BNonce{Buffer: s.nonce}, Attributes: tpm2.TPMASession{ContinueSession: true},
	}, nil
}

// Validate implements [tpm2.Session]: the other session of the command does.
func (s *policySession) Validate(tpm2.TPMRC, tpm2.TPMCC, []byte, []tpm2.TPM2BName, int, *tpm2.TPMSAuthResponse) error {
	return nil
}

// IsEncryption implements [tpm2.Session].
func (s *policySession) IsEncryption() bool { return false }

// IsDecryption implements [tpm2.Session].
func (s *policySession) IsDecryption() bool { return false }

// Encrypt implements [tpm2.Session].
func (s *policySession) Encrypt([]byte) error { return nil }

// Decrypt implements [tpm2.Session].
func (s *policySession) Decrypt([]byte) error { return nil }

// Handle implements [tpm2.Session].
func (s *policySession) Handle() tpm2.TPMHandle { return s.handle }
