package tpm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

var _ key.PINChanger = (*Backend)(nil)

// ChangePIN implements [key.PINChanger]; the reference must have a name. The old
// PIN is checked, once, before the new one is asked for. Besides [key.ErrNotFound]
// and those of [key.PINChange.Validate] its errors are those of signing. A key that
// was looked up before asks for no PIN any more: look it up again.
func (b *Backend) ChangePIN(ctx context.Context, r key.Ref, c key.PINChange) error {
	p, err := b.readPINChange(r, c)
	if err == nil {
		err = p.withOld(ctx, func(old []byte) error {
			return p.withNew(ctx, func(pin []byte) error { return p.carryOut(ctx, old, pin) })
		})
	}
	if err != nil {
		return fmt.Errorf("change the PIN of %q: %w", r, err)
	}
	b.log.Info("PIN changed", logx.Ref, p.key.info.Ref.String(), logx.Key, string(p.key.info.ID), "pin", c.New != nil)
	return nil
}

// pinChange is a change of PIN under way, with the key file as it was read.
type pinChange struct {
	key.PINChange
	*signer
	file *keyFile
	data []byte // of the file
}

// readPINChange refuses what can be refused before anybody is asked.
func (b *Backend) readPINChange(r key.Ref, c key.PINChange) (*pinChange, error) {
	if r.Backend != "" && r.Backend != backendName || !key.ValidName(r.Name) {
		return nil, key.ErrNotFound
	}
	k := readKey(b.folder.dir, r.Name)
	switch {
	case errors.Is(k.err, fs.ErrNotExist):
		return nil, key.ErrNotFound
	case k.err != nil:
		return nil, k.err
	case k.unfit != nil:
		return nil, k.unfit
	}
	if err := c.Validate(k.info); err != nil {
		return nil, err
	}
	path := filepath.Join(b.folder.dir, r.Name+keySuffix)
	if at, err := os.Lstat(path); err != nil || !at.Mode().IsRegular() {
		return nil, hint.Wrap(fmt.Errorf("%s is a link: %w", path, key.ErrUnsupported), "put the key file itself there")
	}
	data, err := xdg.ReadOwnFile(path, limits.TPMKeyFile)
	if err != nil {
		return nil, err
	}
	file, err := parseKeyFile(data)
	if err != nil {
		return nil, err
	}
	public, err := parsePublic(file.public)
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(file.public, k.object.public) || !bytes.Equal(file.private, k.object.private):
		return nil, errChanged
	case public.ObjectAttributes.AdminWithPolicy:
		return nil, fmt.Errorf("to change it needs a policy: %w", key.ErrUnsupported)
	}
	return &pinChange{c, &signer{b, k}, file, data}, nil
}

// withOld lends the PIN that the key has, checked by the TPM, or nil if it has none.
func (p *pinChange) withOld(ctx context.Context, use func(old []byte) error) error {
	if !p.key.info.Policy.PIN {
		return use(nil)
	}
	auth := p.backend.auth
	if p.Old != nil {
		auth = func(ctx context.Context, _ key.AuthRequest, use func([]byte) error) error { return p.Old(ctx, use) }
	}
	lent := false
	err := p.withPIN(ctx, auth, func(old []byte) error {
		lent = true
		err := p.run(ctx, func(c *chip) error {
			_, err := c.changeAuth(p.key.object, old, old)
			return err
		})
		if err != nil {
			return err
		}
		return use(old)
	})
	return given(lent, err)
}

// withNew lends the new PIN, or nil for none.
func (p *pinChange) withNew(ctx context.Context, use func(pin []byte) error) error {
	if p.New == nil {
		return use(nil)
	}
	lent := false
	err := p.New(ctx, func(pin []byte) error {
		lent = true
		if err := checkPIN(pin); err != nil {
			return err
		}
		return use(pin)
	})
	return given(lent, err)
}

// given makes an error of a PIN that was never lent.
func given(lent bool, err error) error {
	if err == nil && !lent {
		return fmt.Errorf("no PIN was given: %w", key.ErrDenied)
	}
	return err
}

// carryOut replaces the key file when the TPM has made, and can load, a private
// area with the new PIN.
func (p *pinChange) carryOut(ctx context.Context, old, pin []byte) error {
	var changed *object
	err := p.run(ctx, func(c *chip) (err error) {
		if changed, err = c.changeAuth(p.key.object, old, pin); err != nil {
			return err
		}
		c.unload(p.key.object)
		return c.explain(c.attempt(true, func() error {
			_, err := c.load(changed)
			return err
		}))
	})
	if err != nil {
		return err
	}
	file := *p.file
	file.private, file.emptyAuth = changed.private, new(bool)
	*file.emptyAuth = pin == nil
	data, err := file.encode()
	if err != nil {
		return err
	}
	return p.backend.folder.replace(ctx, p.key.info.Ref.Name, p.data, data)
}

// changeAuth has the TPM make the private area of a key anew, with another auth
// value, which travels in the encrypted first parameter. The key in its slot keeps
// the old one. Both may be nil, for none.
func (c *chip) changeAuth(o *object, old, auth []byte) (*object, error) {
	changed := *o
	err := c.withKey(o, old, func(handle tpm2.TPMHandle) error {
		return c.withParentOf(o, func(p parent) error {
			return c.session.with(old, func() error {
				rsp, err := execute(c, tpm2.ObjectChangeAuth{
					ObjectHandle: tpm2.AuthHandle{Handle: handle, Name: tpm2.TPM2BName{Buffer: []byte(o.name)}, Auth: c.session},
					ParentHandle: tpm2.NamedHandle{Handle: p.handle, Name: p.name},
					NewAuth:      tpm2.TPM2BAuth{Buffer: auth},
				})
				if err != nil {
					return c.explainAuth(err, old)
				}
				changed.private = rsp.OutPrivate.Buffer
				return nil
			})
		})
	})
	if err != nil {
		return nil, err
	}
	return &changed, nil
}
