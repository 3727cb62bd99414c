package tpm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/key"
)

var _ key.Importer = (*Backend)(nil)

const wrapHint = "wrap the key for this TPM's storage key, which is printed by: sealsmith tpm srk"

// Describe says what key a TSS2 PEM file holds, without a device: all of
// [key.Info] that the file knows. Its errors wrap [key.ErrUsage] for what is no key
// file and [key.ErrUnsupported] for a key that cannot be imported.
func Describe(file []byte) (key.Info, error) {
	k, _, err := newcomer(file)
	return k.info, err
}

// newcomer parses a key file that is to be imported. The key that it returns is
// how the file would be stored: loadable.
func newcomer(data []byte) (storedKey, *keyFile, error) {
	file, err := parseKeyFile(data)
	if err != nil {
		return storedKey{}, nil, fmt.Errorf("%w: %w", err, key.ErrUsage)
	}
	if file.kind.Equal(oidSealed) {
		return storedKey{}, nil, fmt.Errorf("the file holds sealed data, not a key: %w", key.ErrUnsupported)
	}
	if file.kind.Equal(oidImportable) {
		if err := file.checkImportable(); err != nil {
			return storedKey{}, nil, err
		}
	}
	var k storedKey
	if err := k.fill(file.loadable(file.private)); err != nil {
		return storedKey{}, nil, err
	}
	if file.description != nil {
		k.info.Comment = *file.description
	}
	return k, file, k.unfit
}

// checkImportable refuses what no TPM would import, or not as the file has it.
func (f *keyFile) checkImportable() error {
	public, err := parsePublic(f.public)
	if err != nil {
		return err
	}
	if _, ok := sized(cryptobyte.String(f.secret)); !ok {
		return fmt.Errorf("key file: bad secret: %w", key.ErrUsage)
	}
	why := ""
	switch a := public.ObjectAttributes; {
	case a.FixedTPM || a.FixedParent:
		why = "the key is bound to the TPM that made it"
	case a.EncryptedDuplication:
		why = "the key wants an inner wrapper"
	default:
		return nil
	}
	return fmt.Errorf("key file: %s: %w", why, key.ErrUnsupported)
}

// loadable is the file as it will be stored. That of an importable key becomes
// another one: its private area is new, and its description goes to the public key
// file, for some programs refuse key files that have one.
func (f *keyFile) loadable(private []byte) *keyFile {
	if !f.kind.Equal(oidImportable) {
		return f
	}
	changed := *f
	changed.kind, changed.private = oidLoadable, private
	changed.secret, changed.description = nil, nil
	return &changed
}

// Import implements [key.Importer]. The file is one of [Wrap] or another
// importable key for a parent in this TPM, or one that this TPM loads, whoever made
// it. No PIN is needed. Nothing is written unless the TPM has loaded the key. A key
// that the folder has with another usage fails with [key.ErrExists].
func (b *Backend) Import(ctx context.Context, s key.ImportSpec) (key.Signer, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if b.folder.has(s.Name) {
		return nil, fmt.Errorf("key %q: %w", s.Name, key.ErrExists)
	}
	k, file, err := newcomer(s.File)
	if err == nil {
		err = b.oneUsage(k.info)
	}
	if err == nil {
		k, file, err = b.adopt(ctx, k, file)
	}
	if err != nil {
		return nil, fmt.Errorf("import key %q: %w", s.Name, err)
	}
	k.info.Ref = key.Ref{Backend: backendName, Name: s.Name}
	k.info.Comment = importComment(s, k.info.Comment)
	k.info.Created, k.info.Policy.Unattended = time.Now().UTC().Truncate(time.Second), s.Unattended
	if err := b.folder.store(ctx, &k, file); err != nil {
		return nil, fmt.Errorf("store key %q: %w", s.Name, err)
	}
	b.log.Info("key imported", logx.Ref, k.info.Ref.String(), logx.Key, string(k.info.ID))
	return &signer{b, k}, nil
}

// oneUsage refuses a key that is here already with another usage: a key has one.
func (b *Backend) oneUsage(k key.Info) error {
	for in, err := range ReadDir(b.folder.dir) {
		if err == nil && in.ID == k.ID && in.Usage != k.Usage {
			return hint.Wrap(fmt.Errorf("it is here already, as %s of usage %s: %w", in.Ref, in.Usage, key.ErrExists),
				"a key has one usage; make another key for the other")
		}
	}
	return nil
}

// importComment is the comment that was asked for, else the file's description if
// that can be one, else the name.
func importComment(s key.ImportSpec, description string) string {
	if s.Comment != "" {
		return s.Comment
	}
	s.Comment = description
	if description == "" || s.Validate() != nil {
		return s.Name
	}
	return description
}

// adopt has the TPM take the key, and returns it as it will be stored.
func (b *Backend) adopt(ctx context.Context, k storedKey, file *keyFile) (storedKey, *keyFile, error) {
	var o *object
	err := b.device.run(ctx, func(c *chip) error {
		return c.explain(c.attempt(true, func() (err error) {
			if err := c.requireAlgorithm(k.info.Algorithm); err != nil {
				return err
			}
			o, err = c.adopt(file, k.object)
			return err
		}))
	})
	if err != nil {
		return storedKey{}, nil, err
	}
	k.object, k.info.Parent = o, formatName(o.parent)
	return k, file.loadable(o.private), nil
}

// adopt imports a key, if its file is importable, and sees whether it loads. It
// leaves nothing behind: a key that is never stored must not take a slot.
func (c *chip) adopt(file *keyFile, o *object) (*object, error) {
	c.makeRoom()
	adopted := *o
	err := c.withParentOf(o, func(p parent) (err error) {
		if len(p.name.Buffer) != 2+sha256.Size { // a record has no room for others
			return fmt.Errorf("%v has a Name that is not made with SHA-256: %w", o.under, key.ErrUnsupported)
		}
		adopted.parent = p.name.Buffer
		if file.kind.Equal(oidImportable) {
			if adopted.private, err = c.importUnder(p, file, o); err != nil {
				return err
			}
		}
		handle, err := c.loadUnder(p, &adopted)
		if err != nil {
			return err
		}
		return c.flush(handle)
	})
	if err != nil {
		return nil, explainRefusal(err)
	}
	return &adopted, nil
}

// importUnder has the TPM take over a wrapped key, and returns its private area
// under the parent.
func (c *chip) importUnder(p parent, file *keyFile, o *object) ([]byte, error) {
	seed, _ := sized(cryptobyte.String(file.secret)) // see checkImportable
	rsp, err := execute(c, tpm2.Import{
		ParentHandle: tpm2.AuthHandle{Handle: p.handle, Name: p.name, Auth: c.session},
		ObjectPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](file.public),
		Duplicate:    tpm2.TPM2BPrivate{Buffer: file.private},
		InSymSeed:    tpm2.TPM2BEncryptedSecret{Buffer: seed},
		Symmetric:    tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
	})
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return nil, hint.Wrap(fmt.Errorf("the key is wrapped for another storage key: %w: %w", err, key.ErrForeign), wrapHint)
	}
	if err != nil {
		return nil, c.explainLoad(o, p, err)
	}
	return rsp.OutPrivate.Buffer, nil
}

// refusals are what TPMs answer to a key that they cannot make sense of.
var refusals = []tpm2.TPMRC{
	tpm2.TPMRCAttributes, tpm2.TPMRCBinding, tpm2.TPMRCCurve, tpm2.TPMRCECCPoint, tpm2.TPMRCInsufficient, tpm2.TPMRCKey,
	tpm2.TPMRCKeySize, tpm2.TPMRCRange, tpm2.TPMRCSize, tpm2.TPMRCType, tpm2.TPMRCValue,
}

// explainRefusal says that the TPM does not take the file for a key; the code stays
// in the chain.
func explainRefusal(err error) error {
	for _, code := range refusals {
		if errors.Is(err, code) {
			return hint.Wrap(fmt.Errorf("the TPM refuses the key: %w: %w", err, key.ErrUnsupported),
				"the file is damaged, or its numbers are not as long as this TPM wants them; if you have the key itself, import that")
		}
	}
	return err
}
