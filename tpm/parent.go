package tpm

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// persistentSRK is where the storage primary is kept, if it is kept (TCG TPM
// v2.0 Provisioning Guidance, section 7.8).
const persistentSRK tpm2.TPMHandle = 0x81000001

// storageTemplate is the public area of the storage primary: the template H-2
// (ECC P-256) of the TCG EK Credential Profile. Its unique field is empty, as
// TSS2 key files want it; go-tpm's template fills it with zeros, which makes
// another key.
func storageTemplate() tpm2.TPMTPublic {
	t := tpm2.ECCSRKTemplate
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	return t
}

// parent is the storage primary in a slot of the TPM or at its persistent
// handle, with the Name that was pinned.
type parent struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

// withParent lends the storage primary to f, with a session salted to it.
func (c *chip) withParent(f func(parent) error) (err error) {
	p, err := c.loadParent()
	if err != nil {
		return err
	}
	if p.handle != persistentSRK {
		defer func() {
			if lost := c.flush(p.handle); err == nil {
				err = lost
			}
		}()
	}
	if err := c.checkParent(p); err != nil {
		return err
	}
	if c.session == nil {
		s, err := startSession(c, p)
		if err != nil {
			return fmt.Errorf("start session: %w", err)
		}
		c.session = s
	}
	return f(p)
}

// loadParent finds the storage primary: the persistent one if its Name is the
// pinned one, else it is created, which gives the same key.
func (c *chip) loadParent() (parent, error) {
	pinned, _, err := c.pins.read()
	if err != nil {
		return parent{}, err
	}
	if rsp, err := execute(c, tpm2.ReadPublic{ObjectHandle: persistentSRK}); err == nil {
		p, err := newParent(persistentSRK, rsp.OutPublic)
		if err == nil && bytes.Equal(p.name.Buffer, pinned) {
			return p, nil
		}
	} else if c.link == nil {
		return parent{}, err
	}
	rsp, err := execute(c, tpm2.CreatePrimary{
		// The owner's empty auth value is no secret.
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		InPublic:      tpm2.New2B(storageTemplate()),
	})
	if err != nil {
		if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
			err = hint.Wrap(err, "the TPM's owner hierarchy has a password; without it, sealsmith needs a TPM that it has used before and whose storage key is at 0x81000001")
		}
		return parent{}, fmt.Errorf("create storage key: %w", err)
	}
	p, err := newParent(rsp.ObjectHandle, rsp.OutPublic)
	if err == nil && !matches(&p.public, storageTemplate()) {
		err = errors.New("the TPM made another key than it was asked for")
	}
	if err != nil {
		c.flush(rsp.ObjectHandle)
		return parent{}, fmt.Errorf("storage key: %w", err)
	}
	return p, nil
}

// newParent computes the Name from the public area itself: the one that the TPM
// sends beside it proves nothing.
func newParent(handle tpm2.TPMHandle, area tpm2.TPM2BPublic) (parent, error) {
	public, err := parsePublic(area.Bytes())
	if err != nil {
		return parent{}, err
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return parent{}, err
	}
	return parent{handle, *name, *public}, nil
}

// checkParent compares the storage primary with the one pinned for this device,
// or pins it at the first use. Nothing is salted to an unchecked parent: an
// impostor on the bus would read the salt, and with it the session.
func (c *chip) checkParent(p parent) error {
	if bytes.Equal(c.primary, p.name.Buffer) {
		return nil
	}
	pinned, isNew, err := c.pins.pin(c.ctx, p.name.Buffer)
	if err != nil {
		return err
	}
	if !bytes.Equal(pinned, p.name.Buffer) {
		return hint.Wrap(fmt.Errorf("TPM %s is not the one seen before: its storage key is %x, pinned is %x: %w",
			c.target, p.name.Buffer, pinned, key.ErrForeign),
			"either something poses as your TPM, or the TPM was cleared or replaced",
			"if it was on purpose, remove the device from "+c.pins.path()+"; keys made before are lost")
	}
	if isNew {
		c.notice(fmt.Sprintf("first use of TPM %s: its storage key %x is remembered, and from now on no other is trusted",
			c.target, p.name.Buffer))
	}
	c.primary = p.name.Buffer
	return nil
}
