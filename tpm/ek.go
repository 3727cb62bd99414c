package tpm

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/key"
)

// EK is an endorsement key with a certificate in the TPM's NV memory. It is read
// without a session: something on the bus can misreport it, but cannot use it.
type EK struct {
	Template  string        `json:"template"`  // in the TCG EK Credential Profile, such as "L-1"
	Algorithm key.Algorithm `json:"algorithm"` // of the template
	Index     uint32        `json:"nv_index"`
	// Certificate is DER, without padding; it identifies the machine.
	Certificate   []byte   `json:"certificate"`
	SHA256        string   `json:"sha256"`                  // of Certificate, in hexadecimal
	Intermediates [][]byte `json:"intermediates,omitempty"` // DER, as they came
	// Public is the TPMT_PUBLIC of the key, rebuilt from certificate and template.
	Public []byte `json:"public,omitempty"`
	// Problem says why the key cannot be used; empty: it can.
	Problem string `json:"problem,omitempty"`
	// Pinned says that the device was pinned by this key; see [Device.Pin].
	Pinned bool `json:"pinned"`

	template tpm2.TPMTPublic // with the unique field that the key is made from
	area     *tpm2.TPMTPublic
}

// EndorsementKeys reads the endorsement keys that have a certificate, best first.
// Many TPMs of virtual machines have none. Its errors are those of [Device.Do].
func (d *Device) EndorsementKeys(ctx context.Context) ([]EK, error) {
	var keys []EK
	err := d.run(ctx, func(c *chip) error {
		return c.explain(c.attempt(true, func() (err error) {
			keys, err = c.endorsementKeys()
			return err
		}))
	})
	return keys, err
}

func (c *chip) endorsementKeys() ([]EK, error) {
	indexes, err := c.handles(firstEKIndex)
	if err != nil {
		return nil, err
	}
	pinned, err := c.pins.endorsed()
	if err != nil {
		return nil, err
	}
	var keys []EK
	for _, t := range ekTemplates {
		if !slices.Contains(indexes, t.index) {
			continue
		}
		k := EK{Template: t.name, Algorithm: t.algorithm, Index: uint32(t.index)}
		if err := c.readEK(&k, t, indexes); err != nil {
			if c.link == nil || c.ended() != nil {
				return nil, err
			}
			k.Problem = err.Error()
		}
		k.Pinned = pinned != "" && k.SHA256 == pinned
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	return keys, c.readChain(keys)
}

// readEK reads a certificate and works out which key it is for.
func (c *chip) readEK(k *EK, t ekTemplate, indexes []tpm2.TPMHandle) error {
	data, err := c.readNV(t.index, limits.TPMCertificate)
	if err != nil {
		return err
	}
	der, _, found := cutDER(data)
	if !found {
		return errors.New("what lies there is no certificate")
	}
	k.Certificate = der
	sum := sha256.Sum256(der)
	k.SHA256 = hex.EncodeToString(sum[:])
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("EK certificate: %.200q", err.Error()) // it may quote the certificate
	}
	if k.template, err = c.ekTemplate(t, indexes); err != nil {
		return err
	}
	if k.area, err = endorsementArea(k.template, certificate.PublicKey); err != nil {
		return fmt.Errorf("EK certificate: %w", err)
	}
	k.Public = tpm2.Marshal(k.area)
	return nil
}

// ekTemplate is the template of a key, with what the maker of the TPM changed.
func (c *chip) ekTemplate(t ekTemplate, indexes []tpm2.TPMHandle) (tpm2.TPMTPublic, error) {
	area := t.area
	if t.template != 0 && slices.Contains(indexes, t.template) {
		data, err := c.readNV(t.template, limits.TPMCertificate)
		if err != nil {
			return area, err
		}
		own, err := parsePublic(data)
		if err != nil {
			return area, fmt.Errorf("EK template: %w", err)
		}
		area = *own
	}
	if t.nonce == 0 || !slices.Contains(indexes, t.nonce) {
		return area, nil
	}
	nonce, err := c.readNV(t.nonce, limits.TPMCertificate)
	if err != nil {
		return area, err
	}
	return area, setNonce(&area, nonce)
}

// setNonce puts an EK nonce into the unique field, filled up with zeros (EK
// Credential Profile, section 2.2.1.5.3).
func setNonce(area *tpm2.TPMTPublic, nonce []byte) error {
	fill := func(size int) ([]byte, error) {
		if len(nonce) > size {
			return nil, fmt.Errorf("EK nonce of %d bytes", len(nonce))
		}
		return append(slices.Clone(nonce), make([]byte, size-len(nonce))...), nil
	}
	if area.Type == tpm2.TPMAlgRSA {
		modulus, err := fill(256)
		area.Unique = tpm2.NewTPMUPublicID(area.Type, &tpm2.TPM2BPublicKeyRSA{Buffer: modulus})
		return err
	}
	x, err := fill(32)
	area.Unique = tpm2.NewTPMUPublicID(area.Type, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: x}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
	})
	return err
}

// readChain adds the certificates of issuers that the TPM holds. They help a
// verifier and decide nothing, so that bad ones are left out.
func (c *chip) readChain(keys []EK) error {
	indexes, err := c.handles(firstChainIndex)
	if err != nil {
		return err
	}
	var data []byte // a certificate may go on in the next index
	for _, index := range indexes {
		if index > lastChainIndex {
			break
		}
		more, err := c.readNV(index, limits.TPMChain-len(data))
		if c.link == nil || c.ended() != nil {
			return err
		}
		if err != nil {
			c.log.Warn("chain of the EK certificates", logx.Err, err)
			return nil
		}
		data = append(data, more...)
	}
	chain, err := splitChain(data)
	if err != nil {
		c.log.Warn("chain of the EK certificates", logx.Err, err)
	}
	for i := range keys {
		keys[i].Intermediates = chain
	}
	return nil
}

// usableEK is the endorsement key that pick accepts first.
func (c *chip) usableEK(pick func(EK) bool) (EK, error) {
	keys, err := c.endorsementKeys()
	if err != nil {
		return EK{}, err
	}
	for _, k := range keys {
		if pick(k) && k.Problem == "" {
			return k, nil
		}
		if pick(k) {
			err = fmt.Errorf("EK in NV index %#x: %s: %w", k.Index, k.Problem, key.ErrUnsupported)
		}
	}
	switch {
	case err != nil:
		return EK{}, err
	case len(keys) == 0:
		return EK{}, hint.Wrap(fmt.Errorf("this TPM has no EK certificate: %w", key.ErrUnsupported),
			"TPMs of virtual machines often have none, and then nobody vouches for the TPM")
	}
	return EK{}, hint.Wrap(fmt.Errorf("this TPM does not have that EK certificate: %w", key.ErrForeign),
		"see which it has with: sealsmith tpm ek")
}

// withEK lends a loaded endorsement key to f: a persistent one, or one that is
// created again. One slot must be free.
func (c *chip) withEK(k EK, f func(tpm2.NamedHandle) error) (err error) {
	if handle, err := c.persistentEK(k); err != nil || handle != nil {
		if err != nil {
			return err
		}
		return f(*handle)
	}
	rsp, err := execute(c, tpm2.CreatePrimary{
		// The hierarchy's empty auth value is no secret.
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(k.template),
	})
	if err != nil {
		return fmt.Errorf("create endorsement key: %w", endorsementAuth(err))
	}
	defer func() {
		if lost := c.flush(rsp.ObjectHandle); err == nil {
			err = lost
		}
	}()
	name, err := k.nameOf(rsp.OutPublic)
	if err != nil {
		return hint.Wrap(fmt.Errorf("create endorsement key: %w: %w", err, key.ErrForeign),
			"the certificate is of another TPM, or the TPM has another endorsement seed than when it was certified")
	}
	return f(tpm2.NamedHandle{Handle: rsp.ObjectHandle, Name: *name})
}

// persistentEK finds the key among those that the TPM keeps; nil: it is not there.
func (c *chip) persistentEK(k EK) (*tpm2.NamedHandle, error) {
	const first, last tpm2.TPMHandle = 0x81010000, 0x8101ffff // TCG Provisioning Guidance, section 7.8
	handles, err := c.handles(first)
	if err != nil {
		return nil, err
	}
	for _, h := range handles {
		if h > last {
			break
		}
		rsp, err := execute(c, tpm2.ReadPublic{ObjectHandle: h})
		if c.link == nil || c.ended() != nil {
			return nil, err
		}
		if err != nil {
			continue
		}
		if name, err := k.nameOf(rsp.OutPublic); err == nil {
			return &tpm2.NamedHandle{Handle: h, Name: *name}, nil
		}
	}
	return nil, nil
}

// nameOf is the Name of a public area that the TPM sent, if it is this key's.
func (k EK) nameOf(area tpm2.TPM2BPublic) (*tpm2.TPM2BName, error) {
	public, err := parsePublic(area.Bytes())
	if err != nil {
		return nil, err
	}
	ours, err := publicKey(k.area)
	if err != nil {
		return nil, err
	}
	theirs, err := publicKey(public)
	if err != nil {
		return nil, err
	}
	if !matches(public, *k.area) || !sameKey(ours, theirs) {
		return nil, errors.New("the key is not that of the certificate")
	}
	return tpm2.ObjectName(public)
}

// endorsementAuth adds what to do when the endorsement hierarchy has a password.
func endorsementAuth(err error) error {
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return hint.Wrap(err, "the TPM's endorsement hierarchy has a password, which sealsmith does not ask for")
	}
	return err
}
