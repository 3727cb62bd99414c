package tpm

import (
	"context"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// SetCommandLimit replaces the deadline of one command, so that the others have all the
// time that a busy machine takes. Call it before the device is used.
func (d *Device) SetCommandLimit(of tpm2.TPMCC, limit time.Duration) {
	usual := d.chip.limit
	d.chip.limit = func(code tpm2.TPMCC) time.Duration {
		if code == of {
			return limit
		}
		return usual(code)
	}
}

// SetReadyLimit replaces the time in which opening must be done, with the same
// condition.
func (d *Device) SetReadyLimit(limit time.Duration) { d.chip.ready = limit }

// SetRetryLimit replaces the time for which a command is sent again because the TPM
// asks for patience, with the same condition.
func (d *Device) SetRetryLimit(limit time.Duration) { d.chip.retry = limit }

// SetCloseLimits replaces the times for which Close waits before it cuts the
// connection, and after that.
func (d *Device) SetCloseLimits(patience, giveUp time.Duration) {
	d.patience, d.giveUp = patience, giveUp
}

// Closing ends when Close has begun.
func (d *Device) Closing() context.Context { return d.closing }

// Waiting is how many wait for their turn.
func (d *Device) Waiting() int { return int(d.waiting.Load()) }

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

// ForeignFile makes of our key file one that another program might have written,
// with this private area and emptyAuth.
func ForeignFile(pem, private []byte, emptyAuth *bool) ([]byte, error) {
	k, err := parseKeyFile(pem)
	if err != nil {
		return nil, err
	}
	description, rsaParent := "by another program", false
	k.kind, k.emptyAuth, k.description, k.rsaParent, k.private = oidOld, emptyAuth, &description, &rsaParent, private
	return k.encode()
}
