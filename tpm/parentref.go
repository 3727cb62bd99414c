package tpm

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// The hierarchies that a key file can name as a parent (TPM_RH_…, part 2, 7.4).
const (
	ownerHierarchy       = 0x40000001 // our storage primary's
	nullHierarchy        = 0x40000007
	endorsementHierarchy = 0x4000000B
	platformHierarchy    = 0x4000000C
)

// parentRef is the parent of a key that other software made: a persistent handle,
// or a hierarchy and its template. The zero parentRef is our storage primary.
type parentRef struct {
	handle tpm2.TPMHandle
	rsa    bool // the template H-1 rather than H-2
}

// newParentRef reads the parent out of a key file. It fails with
// [key.ErrUnsupported].
func newParentRef(f *keyFile) (parentRef, error) {
	r := parentRef{handle: tpm2.TPMHandle(f.parent), rsa: f.rsaParent != nil && *f.rsaParent}
	switch {
	case r == parentRef{handle: ownerHierarchy}:
		return parentRef{}, nil
	case r.isPersistent():
		r.rsa = false // the template is that of a primary
		return r, nil
	}
	switch r.handle {
	case ownerHierarchy, nullHierarchy, endorsementHierarchy, platformHierarchy:
		return r, nil
	}
	return parentRef{}, fmt.Errorf("key file: its parent %#x is neither a hierarchy nor a persistent handle: %w", f.parent, key.ErrUnsupported)
}

func (r parentRef) isPersistent() bool { return r.handle>>24 == 0x81 }

// String is for messages.
func (r parentRef) String() string {
	name := map[tpm2.TPMHandle]string{
		ownerHierarchy: "owner", nullHierarchy: "null", endorsementHierarchy: "endorsement", platformHierarchy: "platform",
	}[r.handle]
	switch {
	case r == parentRef{}:
		return "the storage key"
	case r.isPersistent():
		return fmt.Sprintf("parent %#x", uint32(r.handle))
	case r.rsa:
		return "the RSA primary of the " + name + " hierarchy"
	}
	return "the primary of the " + name + " hierarchy"
}

// template is the public area of a primary: H-2, or H-1 (RSA-2048), of the TCG EK
// Credential Profile.
func (r parentRef) template() tpm2.TPMTPublic {
	if !r.rsa {
		return storageTemplate()
	}
	t := tpm2.RSASRKTemplate
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{})
	return t
}

// withParentOf lends the parent that an object was made under to f, with the
// session. Only the storage primary is pinned, and the session is always salted to
// it; another parent is used in the session like any other key. There is never
// more than one parent in the TPM's slots.
func (c *chip) withParentOf(o *object, f func(parent) error) (err error) {
	if o.under == (parentRef{}) {
		return c.withParent(f)
	}
	if c.session == nil {
		if err := c.withParent(func(parent) error { return nil }); err != nil {
			return err
		}
	}
	p, err := c.findParent(o.under)
	if err != nil {
		return fmt.Errorf("%v: %w", o.under, err)
	}
	if !o.under.isPersistent() {
		defer func() {
			if lost := c.flush(p.handle); err == nil {
				err = lost
			}
		}()
	}
	if c.barred[string(p.name.Buffer)] {
		return o.under.passwordError()
	}
	return f(p)
}

// findParent finds a parent that is not our storage primary.
func (c *chip) findParent(r parentRef) (parent, error) {
	if r.isPersistent() {
		rsp, err := execute(c, tpm2.ReadPublic{ObjectHandle: r.handle})
		if errors.Is(err, tpm2.TPMRCHandle) {
			return parent{}, hint.Wrap(fmt.Errorf("%w: %w", err, key.ErrForeign), "this TPM keeps nothing there; "+foreignHint)
		}
		if err != nil {
			return parent{}, err
		}
		p, err := newParent(r.handle, rsp.OutPublic)
		if err != nil {
			return parent{}, err
		}
		switch a := p.public.ObjectAttributes; {
		case !a.Restricted || !a.Decrypt:
			return parent{}, fmt.Errorf("it is no storage key: %w", key.ErrForeign)
		case !a.UserWithAuth:
			return parent{}, fmt.Errorf("its use needs a policy: %w", key.ErrUnsupported)
		}
		return p, nil
	}
	rsp, err := execute(c, tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: r.handle, Auth: tpm2.PasswordAuth(nil)}, // as in loadParent
		InPublic:      tpm2.New2B(r.template()),
	})
	if err != nil {
		return parent{}, r.explainPrimary(err)
	}
	p, err := newParent(rsp.ObjectHandle, rsp.OutPublic)
	if err == nil && !matches(&p.public, r.template()) {
		err = errors.New("the TPM made another primary than it was asked for")
	}
	if err != nil {
		c.flush(rsp.ObjectHandle)
		return parent{}, err
	}
	return p, nil
}

func (r parentRef) explainPrimary(err error) error {
	switch {
	case errors.Is(err, tpm2.TPMRCBadAuth), errors.Is(err, tpm2.TPMRCAuthFail):
		return hint.Wrap(fmt.Errorf("%w: %w", err, key.ErrUnsupported),
			"the hierarchy has a password; sealsmith uses other software's keys only where it is empty")
	case errors.Is(err, tpm2.TPMRCHierarchy):
		return hint.Wrap(fmt.Errorf("%w: %w", err, key.ErrUnsupported), "the hierarchy is switched off")
	}
	return err
}

// explainLoad gives an error of TPM2_Load its class and its advice. A parent with
// a password is remembered: each try may count towards the dictionary lockout.
func (c *chip) explainLoad(o *object, p parent, err error) error {
	switch {
	case errors.Is(err, tpm2.TPMRCIntegrity) && o.under.handle == nullHierarchy:
		return hint.Wrap(fmt.Errorf("%w: %w", err, key.ErrForeign), "a key under the null hierarchy dies when its TPM is reset")
	case errors.Is(err, tpm2.TPMRCIntegrity):
		return hint.Wrap(fmt.Errorf("%w: %w", err, key.ErrForeign), foreignHint)
	case errors.Is(err, tpm2.TPMRCBadAuth), errors.Is(err, tpm2.TPMRCAuthFail):
		c.bar(p.name.Buffer)
		return fmt.Errorf("%w: %w", err, o.under.passwordError())
	}
	return err
}

// bar remembers what has a password that we do not know: a parent by its Name, a
// key by its private area.
func (c *chip) bar(what []byte) {
	if c.barred == nil {
		c.barred = map[string]bool{}
	}
	c.barred[string(what)] = true
}

// passwordError is the error of a parent that cannot be used without its password.
func (r parentRef) passwordError() error {
	return hint.Wrap(fmt.Errorf("%v has a password: %w", r, key.ErrUnsupported),
		"sealsmith uses only parents without a password; it tries this one again when it is restarted")
}
