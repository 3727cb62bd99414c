package tpm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// pinned says which of the device's endorsement keys it is pinned by.
func pinned(t *testing.T, d *tpm.Device) (templates string) {
	t.Helper()
	keys, err := d.EndorsementKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Pinned {
			templates += k.Template
		}
	}
	return templates
}

// TestPin, before the first use and after it, by either kind of key. Keys that were
// made before go on working.
func TestPin(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	d := chip.Open()
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
	s := create(t, b, "k", key.P256, nil) // first use
	keys, err := d.EndorsementKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := pinned(t, d); got != "" {
		t.Errorf("pinned by %q", got)
	}
	for _, k := range keys {
		chip.Commands()
		if err := d.Pin(t.Context(), k.SHA256); err != nil {
			t.Fatal(err)
		}
		if got := pinned(t, d); got != k.Template {
			t.Errorf("pinned by %q, want %q", got, k.Template)
		}
		if got := mustStatus(t, d).Pinned; got.EKCertificate != k.SHA256 || got.StorageName != s.Info().Parent {
			t.Errorf("status: pinned %+v", got)
		}
		mustSign(t, s)
	}
	for name, bad := range map[string]struct {
		certificate string
		class       error
	}{
		"no digest":           {"", key.ErrUsage},
		"no hexadecimal":      {strings.Repeat("x", 64), key.ErrUsage},
		"not in the TPM's NV": {strings.Repeat("0", 64), key.ErrForeign},
	} {
		if err := d.Pin(t.Context(), bad.certificate); !errors.Is(err, bad.class) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := pinned(t, d); got != "L-1" {
		t.Errorf("pinned by %q", got)
	}
	// A fresh device, pinned before anything else was done with it.
	fresh := tpmtest.StartProvisioned(t)
	var said []string
	o := fresh.Options()
	o.Notice = func(text string) { said = append(said, text) }
	d, err = tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	b = backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
	defer closed(t, b)
	if err := d.Pin(t.Context(), keys[0].SHA256); err != nil {
		t.Fatal(err)
	}
	mustSign(t, create(t, b, "k", key.P256, nil))
	if len(said) != 1 || !strings.Contains(said[0], "pinned by the EK certificate") {
		t.Errorf("said %q", said)
	}
}

// TestBadCertificateInThePins: what does not look like a digest is not believed.
func TestBadCertificateInThePins(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	d := chip.Open()
	keys, err := d.EndorsementKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Pin(t.Context(), keys[0].SHA256); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(chip.Options().DataDir, "tpm.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, bytes.Replace(data, []byte(keys[0].SHA256), []byte("none"), 1))
	if _, err := d.EndorsementKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "bad SHA-256") {
		t.Errorf("%v", err)
	}
}

// TestPinWithAnOwnerPassword: the storage primary cannot be made, and that is told.
func TestPinWithAnOwnerPassword(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	_, err := tpm2.HierarchyChangeAuth{AuthHandle: tpm2.TPMRHOwner, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("owner")}}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	d := chip.Open()
	keys, err := d.EndorsementKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Pin(t.Context(), keys[0].SHA256); err == nil || !strings.Contains(strings.Join(hint.Of(err), ""), "owner hierarchy has a password") {
		t.Errorf("%v, hints %q", err, hint.Of(err))
	}
}

// interposer sits on the bus between us and a TPM. For all but the endorsement keys
// it has us talk to a TPM of its own, whose keys it may know.
type interposer struct {
	real, own *tpmtest.TPM
	// honest says to whom it passes TPM2_CreatePrimary in a session that it cannot
	// read.
	honest bool

	mu     sync.Mutex
	owners map[uint32]*tpmtest.TPM // of handles
}

func (i *interposer) answer(command []byte) []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	to := i.route(command)
	answer, err := to.Send(command)
	if err != nil {
		return nil
	}
	if len(answer) >= 14 && answer[9] == 0 {
		switch tpm2.TPMCC(binary.BigEndian.Uint32(command[6:10])) {
		case tpm2.TPMCCCreatePrimary, tpm2.TPMCCStartAuthSession, tpm2.TPMCCLoad:
			i.owners[binary.BigEndian.Uint32(answer[10:14])] = to
		}
	}
	return answer
}

func (i *interposer) route(command []byte) *tpmtest.TPM {
	handle := binary.BigEndian.Uint32(command[10:14])
	switch tpm2.TPMCC(binary.BigEndian.Uint32(command[6:10])) {
	case tpm2.TPMCCNVRead, tpm2.TPMCCNVReadPublic, tpm2.TPMCCReadPublic:
		return i.real
	case tpm2.TPMCCGetCapability:
		if property := binary.BigEndian.Uint32(command[14:18]); property>>24 == 0x01 || property>>24 == 0x81 {
			return i.real
		}
		return i.own
	case tpm2.TPMCCFlushContext:
		if owner := i.owners[handle]; owner != nil {
			return owner
		}
	case tpm2.TPMCCStartAuthSession:
		if handle>>16 == 0x8101 {
			return i.real
		}
	case tpm2.TPMCCCreatePrimary:
		inSession := binary.BigEndian.Uint32(command[18:22]) != uint32(tpm2.TPMRSPW)
		if inSession && i.honest {
			return i.real
		}
	}
	return i.own
}

// TestInterposer: what posed as the TPM at the first use is found out when the
// device is pinned, whatever it does then; and the pin stays as it was.
func TestInterposer(t *testing.T) {
	t.Parallel()
	for _, honest := range []bool{true, false} {
		i := &interposer{
			real: tpmtest.StartProvisioned(t), own: tpmtest.AnotherManufacturer(t).Start(t), honest: honest,
			owners: map[uint32]*tpmtest.TPM{},
		}
		o := tpmtest.Folders(t)
		o.Device = fakeTPM(t, i.answer)
		d, err := tpm.NewDevice(o)
		if err != nil {
			t.Fatal(err)
		}
		b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
		mustSign(t, create(t, b, "k", key.P256, []byte(nil)))
		keys, err := d.EndorsementKeys(t.Context())
		if err != nil || len(keys) != 2 || keys[0].Problem != "" {
			t.Fatalf("%+v, %v", keys, err)
		}
		err = d.Pin(t.Context(), keys[0].SHA256)
		if honest && (!errors.Is(err, key.ErrForeign) || !strings.Contains(strings.Join(hint.Of(err), ""), "posed as your TPM")) || err == nil {
			t.Errorf("honest %v: %v, hints %q", honest, err, hint.Of(err))
		}
		if got := pinned(t, d); got != "" {
			t.Errorf("honest %v: pinned by %q", honest, got)
		}
		closed(t, b)
	}
}
