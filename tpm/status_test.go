package tpm_test

import (
	"encoding/binary"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

func mustStatus(t *testing.T, d *tpm.Device) tpm.Status {
	t.Helper()
	s, err := d.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStatus: what swtpm says, by commands that make and load nothing.
func TestStatus(t *testing.T) {
	chip := tpmtest.Start(t)
	d := chip.Open()
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
	mustSign(t, create(t, b, "k", key.P256, nil))
	chip.Commands()
	s := mustStatus(t, d)
	want := tpm.Status{
		Device: chip.Device(), Manufacturer: "IBM", Model: "SW   TPM", Firmware: s.Firmware, Specification: s.Specification,
		Algorithms: []key.Algorithm{key.P256, key.P384, key.P521, key.RSA2048, key.RSA3072},
		Hashes:     []string{"sha1", "sha256", "sha384", "sha512"},
		Schemes:    []string{"ecdsa", "rsa-pkcs1", "rsa-pss"},
		Curves:     s.Curves,
		Objects:    tpm.Slots{Total: 3, Free: 2}, Sessions: tpm.Slots{Total: 3, Free: 2}, Persistent: s.Persistent,
		LoadedKeys: 1, SessionOpen: true,
		Lockout:         tpm.Lockout{MaxTries: 3, TriesLeft: 3, IntervalSeconds: 1000, RecoverySeconds: 1000},
		Passwords:       tpm.Passwords{OwnSeed: true},
		EndorsementKeys: []tpm.EKIndex{},
		Pinned:          tpm.Pinned{StorageName: s.Pinned.StorageName},
		Works: tpm.Works{
			Keys: tpm.Ability{Works: true}, PINs: tpm.Ability{Works: true},
			Attestation: tpm.Ability{Why: "it has no certificate of an endorsement key"},
		},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	if strings.Count(s.Firmware, ".") != 3 || !strings.HasPrefix(s.Specification, "2.0, level 0, revision 1.") {
		t.Errorf("firmware %q, specification %q", s.Firmware, s.Specification)
	}
	if !slices.Contains(s.Curves, "p256") || s.Persistent.Total == 0 || s.Persistent.Total != s.Persistent.Free {
		t.Errorf("curves %q, persistent %+v", s.Curves, s.Persistent)
	}
	for _, code := range chip.Commands() {
		if code != tpm2.TPMCCGetCapability && code != tpm2.TPMCCTestParms {
			t.Errorf("command %v", code)
		}
	}
}

func TestStatusOfALockedTPM(t *testing.T) {
	chip := tpmtest.Start(t)
	chip.ExpectLockout(3)
	d := chip.Open()
	dir := filepath.Join(t.TempDir(), "keys")
	create(t, backendOver(t, d, dir, nil), "k", key.P256, []byte("right"))
	wrong := backendOver(t, d, dir, lend(t, "wrong"))
	for k, err := range wrong.Keys(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := sign(t.Context(), k); err == nil {
				t.Error("a wrong PIN signed")
			}
		}
	}
	s := mustStatus(t, d)
	want := tpm.Lockout{Locked: true, Counter: 3, MaxTries: 3, IntervalSeconds: 1000, RecoverySeconds: 1000, WaitSeconds: 1000}
	if diff := cmp.Diff(want, s.Lockout); diff != "" {
		t.Error(diff)
	}
	if w := s.Works; w.PINs.Works || !strings.Contains(w.PINs.Why, "in about 17 minutes") || !w.Keys.Works {
		t.Errorf("works %+v", w)
	}
}

// TestStatusWithPasswords: keys go on working only under a storage primary that is
// kept and was used before.
func TestStatusWithPasswords(t *testing.T) {
	f := newFixture(t)
	closed(t, f.b)
	setPassword := func(h tpm2.TPMHandle) {
		t.Helper()
		if _, err := (tpm2.HierarchyChangeAuth{AuthHandle: h, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("x")}}).Execute(f.chip); err != nil {
			t.Fatal(err)
		}
	}
	defineIndex(t, f.chip, 0x01c0000a)
	defineIndex(t, f.chip, 0x01c00002)
	setPassword(tpm2.TPMRHLockout)
	d := f.chip.Open()
	s := mustStatus(t, d)
	if diff := cmp.Diff([]tpm.EKIndex{{Template: "L-2", Algorithm: key.P256, Index: 0x01c0000a}, {Template: "L-1", Algorithm: key.RSA2048, Index: 0x01c00002}}, s.EndorsementKeys); diff != "" {
		t.Error(diff)
	}
	if !s.Works.Keys.Works || !s.Works.Attestation.Works || (s.Passwords != tpm.Passwords{Lockout: true, OwnSeed: true}) {
		t.Errorf("lockout password: %+v, %+v", s.Works, s.Passwords)
	}
	setPassword(tpm2.TPMRHEndorsement)
	if s := mustStatus(t, d); s.Works.Attestation.Works || !strings.Contains(s.Works.Attestation.Why, "endorsement hierarchy") || !s.Passwords.Endorsement {
		t.Errorf("endorsement password: %+v, %+v", s.Works, s.Passwords)
	}
	persistParent(t, f.chip)
	setPassword(tpm2.TPMRHOwner)
	if s := mustStatus(t, d); !s.Works.Keys.Works || !s.Passwords.Owner || s.Persistent.Total != s.Persistent.Free+1 {
		t.Errorf("owner password, storage key kept: %+v", s)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	o := tpmtest.Folders(t) // of somebody who has not used this TPM before
	o.Device = f.chip.Device()
	stranger, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if w := mustStatus(t, stranger).Works; w.Keys.Works || !strings.Contains(w.Keys.Why, "0x81000001") || w.PINs.Works || w.Attestation.Works {
		t.Errorf("owner password, never used before: %+v", w)
	}
}

func defineIndex(t *testing.T, chip *tpmtest.TPM, index tpm2.TPMHandle) {
	t.Helper()
	_, err := tpm2.NVDefineSpace{
		AuthHandle: tpm2.TPMRHOwner,
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
			Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true},
		}),
	}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
}

// TestStatusOfHostileTPMs: whatever a TPM claims, the status is an error or short
// and printable.
func TestStatusOfHostileTPMs(t *testing.T) {
	all := func(code, first, value uint32, count int) []byte {
		content := binary.BigEndian.AppendUint32([]byte{1}, code)
		content = binary.BigEndian.AppendUint32(content, uint32(count))
		for i := range uint32(count) {
			switch tpm2.TPMCap(code) {
			case tpm2.TPMCapTPMProperties:
				content = binary.BigEndian.AppendUint32(content, first+i)
				content = binary.BigEndian.AppendUint32(content, value)
			case tpm2.TPMCapAlgs:
				content = binary.BigEndian.AppendUint16(content, uint16(i))
				content = binary.BigEndian.AppendUint32(content, value)
			case tpm2.TPMCapECCCurves:
				content = binary.BigEndian.AppendUint16(content, uint16(i))
			}
		}
		return frame(content...)
	}
	refuse := func(code tpm2.TPMRC) []byte {
		answer := frame()
		binary.BigEndian.PutUint32(answer[6:], uint32(code))
		return answer
	}
	for name, c := range map[string]struct {
		answer func(code, first uint32) []byte
		want   string // in the error; empty: no error
	}{
		"nothing known": {func(code, first uint32) []byte { return all(code, first, 0, 0) }, ""},
		"all ones":      {func(code, first uint32) []byte { return all(code, first, 1<<32-1, 100) }, ""},
		"escapes":       {func(code, first uint32) []byte { return all(code, first, 0x1b5b326a, 18) }, ""},
		"crowd":         {func(code, first uint32) []byte { return all(code, first, 0, 500) }, ""},
		"no curves": {func(code, first uint32) []byte {
			if tpm2.TPMCap(code) == tpm2.TPMCapECCCurves {
				return refuse(tpm2.TPMRCValue)
			}
			return all(code, first, 0, 0)
		}, ""},
		"failure mode":     {func(uint32, uint32) []byte { return refuse(tpm2.TPMRCFailure) }, "TPM_RC_FAILURE"},
		"other capability": {func(_, first uint32) []byte { return all(uint32(tpm2.TPMCapAlgs), first, 0, 3) }, "TPM"},
	} {
		t.Run(name, func(t *testing.T) {
			o := tpmtest.Folders(t)
			o.Device = fakeTPM(t, func(command []byte) []byte {
				if tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) != tpm2.TPMCCGetCapability {
					return refuse(tpm2.TPMRCValue)
				}
				code, first := binary.BigEndian.Uint32(command[10:]), binary.BigEndian.Uint32(command[14:])
				if tpm2.TPMCap(code) == tpm2.TPMCapHandles {
					return all(code, first, 0, 0)
				}
				return c.answer(code, first)
			})
			d, err := tpm.NewDevice(o)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			s, err := d.Status(t.Context())
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%+v, %v; want %q", s, err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(s)
			if err != nil || len(text) > 2000 || strings.Contains(string(text), "null") || strings.Contains(string(text), `\u`) {
				t.Errorf("%s, %v", text, err)
			}
			if s.Works.Keys.Works || s.Works.PINs.Works || s.Works.Attestation.Works {
				t.Errorf("works %+v", s.Works)
			}
		})
	}
}
