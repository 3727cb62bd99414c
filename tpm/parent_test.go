package tpm_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestAnotherParentIsRefusedBeforeTheSalt plays an impostor: a TPM whose storage
// primary is not the pinned one must not get a salted session.
func TestAnotherParentIsRefusedBeforeTheSalt(t *testing.T) {
	f := newFixture(t)
	closed(t, f.b)
	pins := filepath.Join(f.chip.Options().DataDir, "tpm.json")
	data, err := os.ReadFile(pins)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(data, []byte(`"000b`)) + 5
	for name, change := range map[string]func([]byte) []byte{
		"another Name": func(b []byte) []byte {
			copy(b[i:], strings.Repeat("00", 32))
			return b
		},
		"no Name":       func(b []byte) []byte { return append(b[:i-4:i-4], b[i+64:]...) },
		"unknown field": func(b []byte) []byte { return bytes.Replace(b, []byte(`"pinned_at"`), []byte(`"at"`), 1) },
		"too large":     func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), 65<<10)...) },
		"null":          func([]byte) []byte { return []byte("null\n") },
		"null entry":    func([]byte) []byte { return fmt.Appendf(nil, "{%q: null}\n", f.chip.Device()) },
	} {
		t.Run(name, func(t *testing.T) {
			write(t, pins, change(bytes.Clone(data)))
			f.chip.Commands()
			b := backendOver(t, f.chip.Open(), f.dir, nil)
			defer closed(t, b)
			err := sign(t.Context(), keytest.Only(t, b))
			if err == nil {
				t.Fatal("signed")
			}
			if name == "another Name" && (!errors.Is(err, key.ErrForeign) || !strings.Contains(strings.Join(hint.Of(err), ""), pins)) {
				t.Errorf("%v, hints %q", err, hint.Of(err))
			}
			if slices.Contains(f.chip.Commands(), tpm2.TPMCCStartAuthSession) {
				t.Error("a session was started")
			}
		})
	}
}

// TestPersistentParent: a storage primary that is kept at its persistent handle
// is used, so that a TPM whose owner has a password goes on working.
func TestPersistentParent(t *testing.T) {
	f := newFixture(t)
	closed(t, f.b)
	persistParent(t, f.chip)
	_, err := tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.TPMRHOwner, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("owner")},
	}.Execute(f.chip)
	if err != nil {
		t.Fatal(err)
	}
	f.chip.Commands()
	mustSign(t, keytest.Only(t, backendOver(t, f.chip.Open(), f.dir, nil)))
	if slices.Contains(f.chip.Commands(), tpm2.TPMCCCreatePrimary) {
		t.Error("the storage primary was created again")
	}
}

// persistParent keeps the storage primary in the TPM, as other programs do.
func persistParent(t *testing.T, chip *tpmtest.TPM) {
	t.Helper()
	primary, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm.StorageTemplate()),
	}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tpm2.EvictControl{
		Auth:             tpm2.TPMRHOwner,
		ObjectHandle:     &tpm2.NamedHandle{Handle: primary.ObjectHandle, Name: primary.Name},
		PersistentHandle: 0x81000001,
	}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: primary.ObjectHandle}).Execute(chip); err != nil {
		t.Fatal(err)
	}
}

// TestOwnerPassword: without a persistent parent nothing works, and is told.
func TestOwnerPassword(t *testing.T) {
	chip := tpmtest.Start(t)
	_, err := tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.TPMRHOwner, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("owner")},
	}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	_, err = newBackend(t, chip, nil).Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
	if !errors.Is(err, tpm2.TPMRCBadAuth) || !strings.Contains(strings.Join(hint.Of(err), ""), "0x81000001") {
		t.Errorf("%v, hints %q", err, hint.Of(err))
	}
}

// TestLeftoversOfADeadClient: a client that was killed leaves handles in a TPM
// without a resource manager.
func TestLeftoversOfADeadClient(t *testing.T) {
	chip := tpmtest.Start(t)
	for range 3 {
		_, err := tpm2.CreatePrimary{
			PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm.StorageTemplate()),
		}.Execute(chip)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = tpm2.HMACSession(chip, tpm2.TPMAlgSHA256, 16)
		if err != nil {
			t.Fatal(err)
		}
	}
	mustSign(t, create(t, newBackend(t, chip, nil), "k", key.P256, nil))
}
