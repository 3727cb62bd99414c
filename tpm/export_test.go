package tpm

import (
	"time"

	"github.com/google/go-tpm/tpm2"
)

// SetCommandLimit replaces the deadline of every command. Call it before the
// device is used.
func (d *Device) SetCommandLimit(limit time.Duration) {
	d.chip.limit = func(tpm2.TPMCC) time.Duration { return limit }
}

// StorageTemplate is the template of the storage primary.
func StorageTemplate() tpm2.TPMTPublic { return storageTemplate() }

// Areas returns the public and private area of a key file.
func Areas(pem []byte) (public, private []byte, err error) {
	k, err := parseKeyFile(pem)
	if err != nil {
		return nil, nil, err
	}
	return k.public, k.private, nil
}
