package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

// Pin has the endorsement key whose certificate has this SHA-256, in hexadecimal,
// vouch for the device's storage primary, and remembers both: what was trusted at
// the first use is so no longer. Whether the certificate itself is to be trusted is
// for the caller to know. The error wraps [key.ErrForeign] if the TPM with the
// endorsement key has another storage primary than the one that was pinned: then
// something poses as the TPM, or did at the first use.
func (d *Device) Pin(ctx context.Context, certificate string) error {
	if err := isSHA256(certificate); err != nil {
		return fmt.Errorf("EK certificate: %w: %w", err, key.ErrUsage)
	}
	return d.run(ctx, func(c *chip) error {
		err := c.explain(c.attempt(true, func() error { return c.pinByEK(certificate) }))
		if err != nil {
			return fmt.Errorf("pin TPM %s: %w", c.target, err)
		}
		return nil
	})
}

func (c *chip) pinByEK(certificate string) error {
	ek, err := c.usableEK(func(k EK) bool { return k.SHA256 == certificate })
	if err != nil {
		return err
	}
	// The session that we keep is salted to a storage primary that may be false.
	c.flushAll()
	var s *session
	err = c.withEK(ek, func(endorser tpm2.NamedHandle) (err error) {
		// Salted to the key of the certificate, whatever the TPM says that it has.
		s, err = startSession(c, parent{endorser.Handle, endorser.Name, *ek.area})
		return err
	})
	if err != nil {
		return fmt.Errorf("start session with the endorsement key: %w", err)
	}
	name, err := c.provenPrimary(s)
	if lost := c.flush(s.handle); err == nil {
		err = lost
	}
	if err != nil {
		return err
	}
	pinned, err := c.pins.pinByEK(c.ctx, name, certificate)
	if err != nil {
		return err
	}
	if !bytes.Equal(pinned, name) {
		return hint.Wrap(fmt.Errorf("its storage key is %x, pinned is %x: %w", name, pinned, key.ErrForeign),
			"either something posed as your TPM when it was first used, or the TPM was cleared or replaced",
			"change the PINs that were used meanwhile; then remove the device from "+c.pins.path()+" and pin it again")
	}
	c.notice(fmt.Sprintf("TPM %s: its storage key %x is pinned by the EK certificate %s", c.target, name, certificate))
	return nil
}

// provenPrimary creates the storage primary in a session that only the owner of the
// endorsement key shares with us, and returns its Name. Reading its public area
// there would prove nothing: TPM2_LoadExternal takes any.
func (c *chip) provenPrimary(s *session) ([]byte, error) {
	rsp, err := execute(c, tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: s},
		InPublic:      tpm2.New2B(storageTemplate()),
	})
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return nil, hint.Wrap(fmt.Errorf("create storage key: %w: %w", err, key.ErrForeign),
			"either the TPM's owner hierarchy has a password, or something poses as your TPM")
	}
	if err != nil {
		return nil, fmt.Errorf("create storage key: %w", err)
	}
	p, err := newParent(rsp.ObjectHandle, rsp.OutPublic)
	if err == nil && !matches(&p.public, storageTemplate()) {
		err = errors.New("the TPM made another key than it was asked for")
	}
	if lost := c.flush(rsp.ObjectHandle); err == nil {
		err = lost
	}
	if err != nil {
		return nil, fmt.Errorf("storage key: %w", err)
	}
	return p.name.Buffer, nil
}

// endorsed is the SHA-256 of the EK certificate that the device was pinned by;
// empty: it was trusted at the first use, or is not pinned at all.
func (p pinFile) endorsed() (string, error) {
	_, all, err := p.read()
	return all[p.device].EKCertificate, err
}

// Pinned says which TPM a device is known to be.
type Pinned struct {
	// StorageName is the Name of the storage primary, in hexadecimal. Empty: the
	// device was not used yet.
	StorageName string `json:"storage_name,omitempty"`
	// EKCertificate is the SHA-256 of the certificate of the endorsement key that
	// vouched for it. Empty: it was trusted at the first use.
	EKCertificate string `json:"ek_certificate_sha256,omitempty"`
}

// pinned returns what is known, for people.
func (p pinFile) pinned() (Pinned, error) {
	_, all, err := p.read()
	return Pinned{all[p.device].SRKName, all[p.device].EKCertificate}, err
}

// pinByEK records a Name and the certificate that vouches for it, unless the device
// has another Name. It returns the Name that holds.
func (p pinFile) pinByEK(ctx context.Context, name []byte, certificate string) (pinned []byte, err error) {
	if err := xdg.Private(p.dir); err != nil {
		return nil, fmt.Errorf("folder of TPM pins: %w", err)
	}
	lock, err := lockFolder(ctx, p.path()+".lock", limits.LockWait)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	pinned, all, err := p.read()
	if err != nil || pinned != nil && !bytes.Equal(pinned, name) {
		return pinned, err
	}
	all[p.device] = devicePin{formatName(name), time.Now().UTC().Truncate(time.Second), certificate}
	if err := p.write(all); err != nil {
		return nil, err
	}
	return name, nil
}
