package tpm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// pinFile is a device's entry in tpm.json.
type pinFile struct {
	dir    string
	device string
}

// devicePin is what is known about a device.
type devicePin struct {
	SRKName  string    `json:"srk_name"` // hexadecimal
	PinnedAt time.Time `json:"pinned_at"`
	// EKCertificate is the SHA-256 of the certificate of the endorsement key that
	// vouched for SRKName, in hexadecimal; empty: it was trusted at the first use.
	EKCertificate string `json:"ek_certificate_sha256,omitempty"`
}

func (p pinFile) path() string { return filepath.Join(p.dir, "tpm.json") }

// read returns the Name pinned for the device; nil means none, and then all is
// what there is about other devices.
func (p pinFile) read() (name []byte, all map[string]devicePin, err error) {
	data, err := xdg.ReadOwnFile(p.path(), limits.TPMPins)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, map[string]devicePin{}, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read TPM pins: %w", err)
	}
	all, err = parsePins(data)
	if pin, found := all[p.device]; err == nil && found {
		name, err = parseName(pin.SRKName)
		if err == nil && pin.EKCertificate != "" {
			err = isSHA256(pin.EKCertificate)
		}
	}
	if err != nil {
		return nil, nil, hint.Wrap(fmt.Errorf("read TPM pins: %s: %w", p.path(), err),
			"restore the file from a backup; removing the device's entry, or the file, trusts the TPM anew")
	}
	return name, all, nil
}

// parsePins reads the content of tpm.json. The map is never nil.
func parsePins(data []byte) (map[string]devicePin, error) {
	all := map[string]devicePin{}
	return all, decodeJSON(data, &all)
}

// formatName writes a Name as it stands in our files.
func formatName(name []byte) string { return hex.EncodeToString(name) }

// parseName is the inverse of formatName for Names made with SHA-256: the hash's
// identifier and the hash (TPM 2.0 part 1, section 16).
func parseName(text string) ([]byte, error) {
	name, err := hex.DecodeString(text)
	if err != nil || len(name) != 2+sha256.Size || formatName(name) != text {
		return nil, fmt.Errorf("bad Name %.80q", text)
	}
	return name, nil
}

// pin records a Name if the device has none yet, and returns the one that holds.
func (p pinFile) pin(ctx context.Context, name []byte) (pinned []byte, isNew bool, err error) {
	if err := xdg.Private(p.dir); err != nil {
		return nil, false, fmt.Errorf("folder of TPM pins: %w", err)
	}
	lock, err := lockFolder(ctx, p.path()+".lock", limits.LockWait)
	if err != nil {
		return nil, false, err
	}
	defer lock.Close()
	pinned, all, err := p.read()
	if err != nil || pinned != nil {
		return pinned, false, err
	}
	all[p.device] = devicePin{SRKName: formatName(name), PinnedAt: time.Now().UTC().Truncate(time.Second)}
	if err := p.write(all); err != nil {
		return nil, false, err
	}
	return name, true, nil
}

// write replaces the file, unless with one that read would not take: then no device
// could be used any more. The caller holds the lock.
func (p pinFile) write(all map[string]devicePin) error {
	data, err := json.MarshalIndent(all, "", "  ")
	if err == nil && len(data) >= limits.TPMPins {
		err = hint.Wrap(fmt.Errorf("%s would have more than %d bytes", p.path(), limits.TPMPins),
			"remove the entries of devices that you do not use any more")
	}
	if err == nil {
		err = atomicfile.Write(p.path(), append(data, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write TPM pins: %w", err)
	}
	return nil
}
