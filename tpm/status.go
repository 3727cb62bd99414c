package tpm

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Status is the state of a TPM. It is read without a session: something on the
// bus can misreport it.
type Status struct {
	Device       string  `json:"device"`       // canonical device string
	Manufacturer string  `json:"manufacturer"` // four characters, such as "IBM"
	Firmware     string  `json:"firmware"`     // four numbers, such as "8217.4131.18.6"
	Lockout      Lockout `json:"lockout"`
	LoadedKeys   int     `json:"loaded_keys"`  // ours, kept in the TPM
	SessionOpen  bool    `json:"session_open"` // ours
	Transient    int     `json:"transient"`    // objects in the TPM, whoever loaded them
}

// Lockout is the TPM's protection against guessing (TPM 2.0 part 1, section 25).
type Lockout struct {
	Locked          bool   `json:"locked"`           // PINs are refused
	Counter         uint32 `json:"counter"`          // wrong PINs that still count
	MaxTries        uint32 `json:"max_tries"`        // the counter at which PINs are refused
	IntervalSeconds uint32 `json:"interval_seconds"` // after which the counter goes down by one
	RecoverySeconds uint32 `json:"recovery_seconds"` // lockoutAuth's own delay after a wrong try
}

// Status asks the TPM for its state. Its errors are those of [Device.Do].
func (d *Device) Status(ctx context.Context) (Status, error) {
	var s Status
	err := d.run(ctx, func(c *chip) error {
		return c.attempt(true, func() (err error) {
			s, err = c.status()
			return err
		})
	})
	return s, err
}

func (c *chip) status() (Status, error) {
	fixed, err := c.properties(tpm2.TPMPTManufacturer, 8)
	if err != nil {
		return Status{}, err
	}
	lockout, err := c.lockout()
	if err != nil {
		return Status{}, err
	}
	transient, err := c.handles(0x80000000)
	if err != nil {
		return Status{}, err
	}
	v1, v2 := fixed[tpm2.TPMPTFirmwareVersion1], fixed[tpm2.TPMPTFirmwareVersion2]
	return Status{
		Device:       c.target.String(),
		Manufacturer: characters(fixed[tpm2.TPMPTManufacturer]),
		Firmware:     fmt.Sprintf("%d.%d.%d.%d", v1>>16, v1&0xffff, v2>>16, v2&0xffff),
		Lockout:      lockout,
		LoadedKeys:   len(c.keys),
		SessionOpen:  c.session != nil,
		Transient:    len(transient),
	}, nil
}

// lockout reads the counters that protect PINs.
func (c *chip) lockout() (Lockout, error) {
	p, err := c.properties(tpm2.TPMPTLockoutCounter, 4)
	if err != nil {
		return Lockout{}, err
	}
	permanent, err := c.properties(tpm2.TPMPTPermanent, 1)
	if err != nil {
		return Lockout{}, err
	}
	return Lockout{
		Locked:          permanent[tpm2.TPMPTPermanent]&(1<<9) != 0, // inLockout (part 2, 8.6)
		Counter:         p[tpm2.TPMPTLockoutCounter],
		MaxTries:        p[tpm2.TPMPTMaxAuthFail],
		IntervalSeconds: p[tpm2.TPMPTLockoutInterval],
		RecoverySeconds: p[tpm2.TPMPTLockoutRecovery],
	}, nil
}

// triesLeft is how many wrong PINs the TPM will still take.
func (l Lockout) triesLeft() int {
	if l.Locked || l.Counter >= l.MaxTries {
		return 0
	}
	return int(l.MaxTries - l.Counter)
}

// wait is how long, at most, until one more PIN is accepted.
func (l Lockout) wait() time.Duration {
	steps := uint64(1)
	if l.Counter > l.MaxTries {
		steps += uint64(l.Counter - l.MaxTries)
	}
	return time.Duration(min(steps*uint64(l.IntervalSeconds), uint64(limits.TPMLockout/time.Second))) * time.Second
}

// properties reads up to count properties from first on.
func (c *chip) properties(first tpm2.TPMPT, count uint32) (map[tpm2.TPMPT]uint32, error) {
	rsp, err := execute(c, tpm2.GetCapability{
		Capability: tpm2.TPMCapTPMProperties, Property: uint32(first), PropertyCount: count,
	})
	if err != nil {
		return nil, fmt.Errorf("read TPM properties: %w", err)
	}
	list, err := rsp.CapabilityData.Data.TPMProperties()
	if err != nil {
		return nil, fmt.Errorf("read TPM properties: %w", err)
	}
	values := map[tpm2.TPMPT]uint32{}
	for _, p := range list.TPMProperty {
		values[p.Property] = p.Value
	}
	return values, nil
}

// handles lists the handles of first's kind, from first on.
func (c *chip) handles(first tpm2.TPMHandle) ([]tpm2.TPMHandle, error) {
	rsp, err := execute(c, tpm2.GetCapability{
		Capability: tpm2.TPMCapHandles, Property: uint32(first), PropertyCount: limits.TPMHandles,
	})
	if err != nil {
		return nil, fmt.Errorf("list TPM handles: %w", err)
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil {
		return nil, fmt.Errorf("list TPM handles: %w", err)
	}
	if n := len(list.Handle); n > limits.TPMHandles {
		return nil, c.lose(fmt.Errorf("bad answer from the TPM: %d handles, %d were asked for", n, limits.TPMHandles))
	}
	return list.Handle, nil
}

// characters prints a property that holds four characters; the TPM chooses them.
func characters(v uint32) string {
	text := strings.TrimRight(string(binary.BigEndian.AppendUint32(nil, v)), "\x00 ")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}
