package tpm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// object is a key that a TPM can load. It never changes.
type object struct {
	name    string // its Name, computed from the public area: what HMACs are over
	public  []byte // TPMT_PUBLIC
	private []byte // content of TPM2B_PRIVATE
	under   parentRef
	parent  []byte // Name of the key that it was made under; nil: not known
}

const foreignHint = "a TPM key works only in the TPM that made it, and only until that TPM is cleared"

// load brings a key into a slot, if it is in none. When it returns there is a
// session too: keys are loaded in it, and both are flushed together. The handle
// is good until the next call.
func (c *chip) load(o *object) (tpm2.TPMHandle, error) {
	i := slices.IndexFunc(c.keys, func(k loadedKey) bool { return k.is(o) })
	if i >= 0 {
		k := c.keys[i]
		c.keys = append(slices.Delete(c.keys, i, i+1), k)
		return k.handle, nil
	}
	c.makeRoom()
	handle, found, err := c.restore(o)
	if !found && err == nil {
		err = c.withParentOf(o, func(p parent) (err error) {
			handle, err = c.loadUnder(p, o)
			return err
		})
	}
	if err != nil {
		return 0, fmt.Errorf("load key: %w", err)
	}
	c.keys = append(c.keys, loadedKey{o, handle})
	return handle, nil
}

// withKey lends a loaded key to f, which uses it with an auth value: the PIN, or nil.
// Without a PIN f is repeated when that can help; with one only if the TPM did not
// count it as a try of this key.
func (c *chip) withKey(o *object, auth []byte, f func(tpm2.TPMHandle) error) error {
	if auth == nil && c.barred[string(o.private)] {
		return errHiddenPIN
	}
	err := c.attempt(auth == nil, func() error {
		err := c.useKey(o, f)
		switch {
		case c.displaced(o, err):
			c.keys = slices.DeleteFunc(c.keys, func(k loadedKey) bool { return k.is(o) })
		case c.doubtsSession(err) && !errors.Is(err, tpm2.TPMRCAuthFail): // so nothing was counted
			c.flushAll()
		default:
			return err
		}
		return c.useKey(o, f)
	})
	if errors.Is(err, tpm2.TPMRCAuthFail) && errors.Is(err, errHiddenPIN) {
		c.bar(o.private)
	}
	if c.doubtsSession(err) { // at most one try is counted for it
		c.flushAll()
	}
	return c.explain(err)
}

// useKey loads a key and lends it to f.
func (c *chip) useKey(o *object, f func(tpm2.TPMHandle) error) error {
	handle, err := c.load(o)
	if err != nil {
		return err
	}
	return f(handle)
}

// displaced says whether the TPM refused because another object is in the key's slot:
// without a resource manager, somebody can unload ours and load his, with the same
// handle. That costs a command, but only after a refusal.
func (c *chip) displaced(o *object, refusal error) bool {
	var code tpm2.TPMRC
	i := slices.IndexFunc(c.keys, func(k loadedKey) bool { return k.is(o) })
	if i < 0 || c.target.managed() || !errors.As(refusal, &code) || code.IsWarning() {
		return false
	}
	rsp, err := execute(c, tpm2.ReadPublic{ObjectHandle: c.keys[i].handle})
	if err != nil {
		return false
	}
	public, err := parsePublic(rsp.OutPublic.Bytes())
	if err != nil {
		return false
	}
	name, err := tpm2.ObjectName(public)
	return err == nil && string(name.Buffer) != o.name
}

// doubtsSession says whether the TPM refused the session, or the auth value in it: like
// a slot, the session's handle may be somebody else's now.
func (c *chip) doubtsSession(refusal error) bool {
	var code tpm2.TPMFmt1Error
	if c.target.managed() || !errors.As(refusal, &code) {
		return false
	}
	about, _ := code.Session()
	return about
}

// errHiddenPIN is a key that has a PIN though its file says that it has none. If a
// try counts towards the dictionary lockout, there is only one.
var errHiddenPIN = hint.Wrap(errors.New("the key has a PIN though its file says that it has none"),
	"have its maker write the file anew with emptyAuth FALSE; tpm2_encodeobject up to tpm2-tools 5.7 writes the opposite of what --key-auth says",
	"sealsmith tries the key again when it is restarted")

// loadUnder loads a key into a slot that is free.
func (c *chip) loadUnder(p parent, o *object) (tpm2.TPMHandle, error) {
	if o.parent != nil && string(o.parent) != string(p.name.Buffer) {
		return 0, hint.Wrap(fmt.Errorf("key was made under %x, %v of this TPM is %x: %w",
			o.parent, o.under, p.name.Buffer, key.ErrForeign), foreignHint)
	}
	rsp, err := execute(c, tpm2.Load{
		ParentHandle: tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: c.session},
		InPrivate:    tpm2.TPM2BPrivate{Buffer: o.private},
		InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](o.public),
	})
	if err != nil {
		return 0, c.explainLoad(o, p, err)
	}
	return rsp.ObjectHandle, nil
}

// unload gives back the slot of a key, if it has one.
func (c *chip) unload(o *object) {
	if i := slices.IndexFunc(c.keys, func(k loadedKey) bool { return k.is(o) }); i >= 0 {
		c.evict(i)
	}
}

// evict unloads one of the loaded keys. It is forgotten first: when the
// connection is lost, all are.
func (c *chip) evict(i int) {
	k := c.keys[i]
	c.keys = slices.Delete(c.keys, i, i+1)
	c.flush(k.handle)
}

// create makes a key under the storage primary. The PIN travels in the encrypted
// first parameter.
func (c *chip) create(t tpm2.TPMTPublic, pin []byte) (*object, error) {
	c.makeRoom()
	var o *object
	err := c.withParent(func(p parent) error {
		rsp, err := execute(c, tpm2.Create{
			ParentHandle: tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: c.session},
			InSensitive: tpm2.TPM2BSensitiveCreate{
				Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: pin}},
			},
			InPublic: tpm2.New2B(t),
		})
		if err != nil {
			return err
		}
		public, err := parsePublic(rsp.OutPublic.Bytes())
		if err != nil {
			return err
		}
		if !matches(public, t) {
			return errors.New("the TPM made another key than it was asked for")
		}
		name, err := tpm2.ObjectName(public)
		if err != nil {
			return err
		}
		o = &object{name: string(name.Buffer), public: rsp.OutPublic.Bytes(), private: rsp.OutPrivate.Buffer, parent: p.name.Buffer}
		return nil
	})
	return o, err
}

// supports asks the TPM whether it knows an algorithm.
func (c *chip) supports(alg key.Algorithm) (bool, error) {
	kind := tpm2.TPMAlgECC
	if alg.RSA() {
		kind = tpm2.TPMAlgRSA
	}
	_, err := execute(c, tpm2.TestParms{Parameters: tpm2.TPMTPublicParms{Type: kind, Parameters: parameters(alg)}})
	var refused tpm2.TPMFmt1Error // about the parameter, not about the TPM's state
	if errors.As(err, &refused) {
		return false, nil
	}
	return err == nil, err
}

// requireAlgorithm fails with [key.ErrUnsupported], and says what would work, if
// the TPM does not know the algorithm.
func (c *chip) requireAlgorithm(alg key.Algorithm) error {
	ok, err := c.supports(alg)
	if ok || err != nil {
		return err
	}
	works := "this TPM makes:"
	for _, other := range key.Algorithms {
		if ok, err := c.supports(other); err != nil {
			return err
		} else if ok {
			works += " " + string(other)
		}
	}
	return hint.Wrap(fmt.Errorf("algorithm %s: %w by this TPM", alg, key.ErrUnsupported), works)
}
