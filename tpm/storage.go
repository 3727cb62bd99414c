package tpm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// Storage is the public part of a TPM's storage key: what others need to [Wrap] a
// key for that TPM.
type Storage struct {
	Name   string `json:"name"`   // hexadecimal, as in [key.Info]'s Parent
	Public []byte `json:"public"` // DER SubjectPublicKeyInfo
}

// Storage returns the storage key, once it is the one pinned for this device. Its
// errors are those of [Device.Do], and [key.ErrForeign] for another key.
func (d *Device) Storage(ctx context.Context) (Storage, error) {
	var s Storage
	err := d.run(ctx, func(c *chip) error {
		return c.explain(c.attempt(true, func() error {
			return c.withParent(func(p parent) error {
				public, err := publicKey(&p.public)
				if err != nil {
					return err
				}
				s.Name = formatName(p.name.Buffer)
				s.Public, err = x509.MarshalPKIXPublicKey(public)
				return err
			})
		}))
	})
	return s, err
}

// PEM is the file that [ParseStorage] reads.
func (s Storage) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: publicLabel, Bytes: s.Public})
}

const publicLabel = "PUBLIC KEY"

// ParseStorage parses the PEM file of a storage key. Its errors wrap
// [key.ErrUsage].
func ParseStorage(data []byte) (*ecdsa.PublicKey, error) {
	bad := func(err error) (*ecdsa.PublicKey, error) {
		return nil, hint.Wrap(fmt.Errorf("storage key: %w: %w", err, key.ErrUsage), parentHint)
	}
	if len(data) > limits.TPMSideFile {
		return bad(fmt.Errorf("file of more than %d bytes", limits.TPMSideFile))
	}
	data = bytes.TrimSpace(data)
	block, rest := pem.Decode(data)
	if block == nil || len(rest) != 0 || block.Type != publicLabel || len(block.Headers) != 0 ||
		!bytes.HasPrefix(data, []byte("-----BEGIN")) {
		return bad(errors.New("not exactly one PEM block of a " + publicLabel))
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return bad(err)
	}
	public, isEC := parsed.(*ecdsa.PublicKey)
	if !isEC {
		return bad(errors.New("not an ECDSA key on P-256"))
	}
	if _, err := storageArea(public); err != nil {
		return bad(err)
	}
	return public, nil
}

// StorageName is the Name, in hexadecimal, of the storage key with a public key.
func StorageName(public *ecdsa.PublicKey) (string, error) {
	area, err := storageArea(public)
	if err != nil {
		return "", err
	}
	name, err := tpm2.ObjectName(area)
	if err != nil {
		return "", err
	}
	return formatName(name.Buffer), nil
}

// DevicesOf lists the devices, by their canonical strings, that were seen to have
// the storage key of this Name. It reads tpm.json in dataDir and no device.
func DevicesOf(dataDir, name string) ([]string, error) {
	_, all, err := pinFile{dir: dataDir}.read()
	if err != nil {
		return nil, err
	}
	var devices []string
	for device, pin := range all {
		if pin.SRKName == name {
			devices = append(devices, device)
		}
	}
	slices.Sort(devices)
	return devices, nil
}
