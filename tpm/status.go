package tpm

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// Status is the state of a TPM, and what can be done with it. It is read without a
// session: something on the bus can misreport it. What the TPM says of itself is
// printable, and short.
type Status struct {
	Device        string `json:"device"`        // canonical device string
	Software      bool   `json:"software"`      // swtpm, started by us: it protects nothing
	Manufacturer  string `json:"manufacturer"`  // four characters, such as "IBM"
	Model         string `json:"model"`         // the maker's own text, such as "SLB9670"
	Firmware      string `json:"firmware"`      // four numbers, such as "8217.4131.18.6"
	Specification string `json:"specification"` // such as "2.0, level 0, revision 1.64"

	Algorithms []key.Algorithm `json:"algorithms"` // of the keys that it makes
	Hashes     []string        `json:"hashes"`     // of those that are in use anywhere
	Schemes    []string        `json:"schemes"`    // of ecdsa, rsa-pkcs1, rsa-pss
	Curves     []string        `json:"curves"`

	Objects     Slots `json:"objects"`
	Sessions    Slots `json:"sessions"`
	Persistent  Slots `json:"persistent"`   // objects that stay in the TPM
	LoadedKeys  int   `json:"loaded_keys"`  // ours, among Objects
	SessionOpen bool  `json:"session_open"` // ours, among Sessions

	Lockout         Lockout   `json:"lockout"`
	Passwords       Passwords `json:"passwords"`
	EndorsementKeys []EKIndex `json:"endorsement_keys"` // best first
	Pinned          Pinned    `json:"pinned"`           // from our files
	Works           Works     `json:"works"`
}

// Lockout is the TPM's protection against guessing (TPM 2.0 part 1, section 25).
type Lockout struct {
	Locked          bool   `json:"locked"`           // PINs are refused
	Counter         uint32 `json:"counter"`          // wrong PINs that still count
	MaxTries        uint32 `json:"max_tries"`        // the counter at which PINs are refused
	TriesLeft       int    `json:"tries_left"`       // until then
	IntervalSeconds uint32 `json:"interval_seconds"` // after which the counter goes down by one; 0: wrong PINs are not counted
	RecoverySeconds uint32 `json:"recovery_seconds"` // lockoutAuth's own delay after a wrong try; 0: until a restart
	WaitSeconds     int    `json:"wait_seconds"`     // at most, until one more PIN is taken; 0: now, or not known
}

// Status asks the TPM for its state. It makes and loads nothing. Its errors are
// those of [Device.Do].
func (d *Device) Status(ctx context.Context) (Status, error) {
	var s Status
	err := d.run(ctx, func(c *chip) error {
		return c.explain(c.attempt(true, func() (err error) {
			s, err = c.status()
			return err
		}))
	})
	return s, err
}

func (c *chip) status() (s Status, err error) {
	fixed, err := c.properties(tpm2.TPMPTFamilyIndicator, 18) // to TPM_PT_ACTIVE_SESSIONS_MAX
	if err != nil {
		return Status{}, err
	}
	now, err := c.properties(tpm2.TPMPTPermanent, 18) // to TPM_PT_LOCKOUT_RECOVERY
	if err != nil {
		return Status{}, err
	}
	s = Status{
		Device:      c.target.String(),
		Software:    c.target.kind == swtpmChild,
		Objects:     Slots{uint64(fixed[tpm2.TPMPTHRTransientMin]), uint64(now[tpm2.TPMPTHRTransientAvail])},
		Sessions:    Slots{uint64(fixed[tpm2.TPMPTHRLoadedMin]), uint64(now[tpm2.TPMPTHRLoadedAvail])},
		Persistent:  newPersistent(now),
		LoadedKeys:  len(c.keys),
		SessionOpen: c.session != nil,
		Lockout:     newLockout(now),
		Passwords:   newPasswords(now[tpm2.TPMPTPermanent]),
	}
	s.identify(fixed)
	if err := c.abilities(&s); err != nil {
		return Status{}, err
	}
	if s.EndorsementKeys, err = c.ekIndexes(); err != nil {
		return Status{}, err
	}
	if s.Pinned, err = c.pins.pinned(); err != nil {
		return Status{}, err
	}
	s.Works, err = c.works(s)
	return s, err
}

// identify fills in who made the TPM.
func (s *Status) identify(fixed map[tpm2.TPMPT]uint32) {
	v1, v2 := fixed[tpm2.TPMPTFirmwareVersion1], fixed[tpm2.TPMPTFirmwareVersion2]
	revision := fixed[tpm2.TPMPTRevision]
	s.Manufacturer = characters(fixed[tpm2.TPMPTManufacturer])
	s.Model = characters(fixed[tpm2.TPMPTVendorString1], fixed[tpm2.TPMPTVendorString2],
		fixed[tpm2.TPMPTVendorString3], fixed[tpm2.TPMPTVendorString4])
	s.Firmware = fmt.Sprintf("%d.%d.%d.%d", v1>>16, v1&0xffff, v2>>16, v2&0xffff)
	s.Specification = fmt.Sprintf("%s, level %d, revision %d.%02d", characters(fixed[tpm2.TPMPTFamilyIndicator]),
		fixed[tpm2.TPMPTLevel], revision/100, revision%100)
}

// lockout reads the counters that protect PINs.
func (c *chip) lockout() (Lockout, error) {
	p, err := c.properties(tpm2.TPMPTPermanent, 18)
	if err != nil {
		return Lockout{}, err
	}
	return newLockout(p), nil
}

func newLockout(p map[tpm2.TPMPT]uint32) Lockout {
	l := Lockout{
		Locked:          p[tpm2.TPMPTPermanent]&inLockout != 0,
		Counter:         p[tpm2.TPMPTLockoutCounter],
		MaxTries:        p[tpm2.TPMPTMaxAuthFail],
		IntervalSeconds: p[tpm2.TPMPTLockoutInterval],
		RecoverySeconds: p[tpm2.TPMPTLockoutRecovery],
	}
	if l.TriesLeft = l.triesLeft(); l.TriesLeft == 0 {
		l.WaitSeconds = int(l.wait() / time.Second)
	}
	return l
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

// characters prints properties that hold four characters each; the TPM chooses
// them.
func characters(values ...uint32) string {
	var text []byte
	for _, v := range values {
		text = binary.BigEndian.AppendUint32(text, v)
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.Trim(strings.ReplaceAll(string(text), "\x00", ""), " "))
}
