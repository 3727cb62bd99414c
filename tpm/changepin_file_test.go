package tpm_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestForeignFileKeepsItsFields: only the private area and emptyAuth change.
func TestForeignFileKeepsItsFields(t *testing.T) {
	w := newPINWorld(t)
	plain := w.file(t)
	public, private, err := tpm.Areas(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []string{"k.json", "k.pub"} {
		if err := os.Remove(filepath.Join(w.dir, side)); err != nil {
			t.Fatal(err)
		}
	}
	foreign, err := tpm.ForeignFile(plain, private, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(w.dir, "k.tpm"), foreign)
	w.works(t, "old PIN")
	mustChange(t, w.backend, nil, []byte("new PIN"))
	w.works(t, "new PIN")
	after := w.file(t)
	newPublic, newPrivate, err := tpm.Areas(after)
	if err != nil || !bytes.Equal(newPublic, public) || bytes.Equal(newPrivate, private) {
		t.Errorf("public area %x became %x, %v", public, newPublic, err)
	}
	emptyAuth := false
	want, err := tpm.ForeignFile(plain, newPrivate, &emptyAuth)
	if err != nil || !bytes.Equal(after, want) {
		t.Errorf("%v: the file is\n%s, want\n%s", err, after, want)
	}
}

// TestChangePINUnderOtherParents: of keys that other programs made.
func TestChangePINUnderOtherParents(t *testing.T) {
	for name, p := range map[string]otherParent{
		"RSA":        {hierarchy: tpm2.TPMRHOwner, rsa: true},
		"null":       {hierarchy: tpm2.TPMRHNull},
		"persistent": {hierarchy: tpm2.TPMRHOwner, handle: persistent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chip := tpmtest.Start(t)
			w := &pinWorld{chip: chip, dir: storeForeign(t, p.makeKey(t, chip, "old PIN")), given: []byte("old PIN")}
			w.backend = backendOver(t, chip.Open(), w.dir, w.auth)
			change := key.PINChange{New: keytest.Lend([]byte("new PIN"))}
			if err := w.backend.ChangePIN(t.Context(), key.Ref{Name: "foreign"}, change); err != nil {
				t.Fatal(err)
			}
			w.works(t, "new PIN")
			if chip.Saw([]byte("new PIN")) {
				t.Error("the PIN was seen")
			}
		})
	}
}

// TestLinkedKeyFile: a link would be replaced by a file, and what it leads to kept.
func TestLinkedKeyFile(t *testing.T) {
	w := newPINWorld(t)
	path := filepath.Join(w.dir, "k.tpm")
	if err := os.Rename(path, filepath.Join(w.dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("elsewhere", path); err != nil {
		t.Fatal(err)
	}
	w.works(t, "old PIN")
	if err := changePIN(t.Context(), w.backend, nil, []byte("new PIN")); !errors.Is(err, key.ErrUnsupported) || len(hint.Of(err)) == 0 {
		t.Errorf("%v, hints %q", err, hint.Of(err))
	}
	w.works(t, "old PIN")
}
