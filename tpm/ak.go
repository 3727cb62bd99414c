package tpm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// akTemplate is the public area of an attestation key. It is restricted: it signs
// no statement but the TPM's own. It has no PIN and cannot be locked out,
// for whoever may ask the TPM may ask it.
func akTemplate() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, Restricted: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

// akFile is where the attestation key of a device is kept: a TSS2 key file, one for
// each device, so that one enrolment serves every key of the TPM.
type akFile struct{ dir, device string }

func (f akFile) path() string {
	sum := sha256.Sum256([]byte(f.device))
	return filepath.Join(f.dir, fmt.Sprintf("ak-%x.tpm", sum[:8]))
}

// asidePath is where a key that the TPM did not load is kept: that answer of the TPM
// has no HMAC, and enrolments are about the key.
func (f akFile) asidePath(o *object) string { return fmt.Sprintf("%s.%x.old", f.path(), o.name[2:10]) }

// read returns the attestation key and the content of its file; nil: there is none
// yet.
func (f akFile) read() (*object, []byte, error) {
	data, err := xdg.ReadOwnFile(f.path(), limits.TPMKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	var o *object
	if err == nil {
		o, err = parseAK(data)
	}
	if err != nil {
		return nil, nil, hint.Wrap(fmt.Errorf("attestation key %s: %w", f.path(), err),
			"restore the file from a backup; without it another key is made, which must be enrolled again")
	}
	return o, data, nil
}

func parseAK(data []byte) (*object, error) {
	file, err := parseKeyFile(data)
	if err != nil {
		return nil, err
	}
	public, err := parsePublic(file.public)
	if err != nil {
		return nil, err
	}
	if !matches(public, akTemplate()) {
		return nil, errors.New("it holds another kind of key")
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return nil, err
	}
	return &object{name: string(name.Buffer), public: file.public, private: file.private}, nil
}

// replace stores made in place of old, which it keeps aside, unless another process
// has replaced old meanwhile. It returns the key that is stored then.
func (f akFile) replace(ctx context.Context, old, made *object) (*object, error) {
	emptyAuth := true
	file := &keyFile{
		kind: oidLoadable, emptyAuth: &emptyAuth, parent: ownerHierarchy, public: made.public, private: made.private,
	}
	data, err := file.encode()
	if err != nil {
		return nil, err
	}
	if err := xdg.Private(f.dir); err != nil {
		return nil, fmt.Errorf("folder of the attestation key: %w", err)
	}
	lock, err := lockFolder(ctx, f.path()+".lock", limits.LockWait)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	there, kept, err := f.read()
	if err != nil {
		return nil, err
	}
	if there != nil && (old == nil || there.name != old.name) {
		return there, nil
	}
	if there != nil {
		if err := atomicfile.Write(f.asidePath(there), kept, 0o600); err != nil {
			return nil, fmt.Errorf("keep the attestation key: %w", err)
		}
	}
	if err := atomicfile.Write(f.path(), data, 0o600); err != nil {
		return nil, fmt.Errorf("store the attestation key: %w", err)
	}
	return made, nil
}

// withAK lends the loaded attestation key to f, and makes one if there is none that
// this TPM loads. Besides it, at most one key of ours is loaded, the one used last,
// so that there is a slot for one more.
func (c *chip) withAK(f func(*object, tpm2.TPMHandle) error) (err error) {
	file := akFile{c.pins.dir, c.pins.device}
	o, _, err := file.read()
	if err != nil {
		return err
	}
	handle, err := c.loadBeside(o)
	foreign := errors.Is(err, tpm2.TPMRCIntegrity)
	if foreign || err == nil && o == nil {
		if foreign {
			c.notice("the attestation key does not belong to this TPM, which was cleared or replaced: another one is made, and must be enrolled again; the old file is kept as " + file.asidePath(o))
		}
		o, handle, err = c.renewAK(file, o)
	}
	if err != nil {
		return fmt.Errorf("attestation key: %w", err)
	}
	defer func() {
		if lost := c.flush(handle); err == nil {
			err = lost
		}
	}()
	return f(o, handle)
}

// renewAK makes an attestation key, stores it and loads what is stored.
func (c *chip) renewAK(file akFile, old *object) (*object, tpm2.TPMHandle, error) {
	made, err := c.create(akTemplate(), nil)
	if err != nil {
		return nil, 0, err
	}
	made, err = file.replace(c.ctx, old, made)
	if err != nil {
		return nil, 0, err
	}
	handle, err := c.loadBeside(made)
	return made, handle, err
}

// loadBeside loads a key that is not kept: the caller flushes it. nil is no key.
func (c *chip) loadBeside(o *object) (tpm2.TPMHandle, error) {
	if o == nil {
		return 0, nil
	}
	for len(c.keys) > 1 {
		c.evict(0)
	}
	var handle tpm2.TPMHandle
	err := c.withParent(func(p parent) (err error) {
		handle, err = c.loadUnder(p, o)
		return err
	})
	return handle, err
}
