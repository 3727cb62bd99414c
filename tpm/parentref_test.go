package tpm_test

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

const persistent tpm2.TPMHandle = 0x81000005

// otherParent is where a key of another program was made.
type otherParent struct {
	hierarchy tpm2.TPMHandle
	rsa       bool
	handle    tpm2.TPMHandle         // persistent; 0: the primary is created each time
	auth      string                 // of the parent
	change    func(*tpm2.TPMTPublic) // of the parent's template
}

// makeKey makes a P-256 key as another program would, past the proxy, and returns
// its file.
func (p otherParent) makeKey(t *testing.T, chip *tpmtest.TPM, pin string) tpm.OtherFile {
	t.Helper()
	template := tpm.PrimaryTemplate(p.rsa)
	if p.change != nil {
		p.change(&template)
	}
	primary, err := tpm2.CreatePrimary{
		PrimaryHandle: p.hierarchy, InPublic: tpm2.New2B(template), InSensitive: sensitive(p.auth),
	}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	f := tpm.OtherFile{Parent: uint32(p.hierarchy), RSAParent: p.rsa, HasPIN: pin != ""}
	if template.ObjectAttributes.Restricted && template.ObjectAttributes.UserWithAuth {
		made, err := tpm2.Create{
			ParentHandle: tpm2.AuthHandle{Handle: primary.ObjectHandle, Name: primary.Name, Auth: tpm2.PasswordAuth([]byte(p.auth))},
			InPublic:     tpm2.New2B(tpm.KeyTemplate()), InSensitive: sensitive(pin),
		}.Execute(patient{chip})
		if err != nil {
			t.Fatal(err)
		}
		f.Public, f.Private = made.OutPublic.Bytes(), made.OutPrivate.Buffer
	}
	if p.handle != 0 {
		f.Parent = uint32(p.handle)
		evict(t, chip, primary.ObjectHandle, primary.Name, p.handle)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: primary.ObjectHandle}).Execute(chip); err != nil {
		t.Fatal(err)
	}
	return f
}

func sensitive(auth string) tpm2.TPM2BSensitiveCreate {
	return tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: []byte(auth)}}}
}

// evict makes an object persistent; if it is, it is removed.
func evict(t *testing.T, chip *tpmtest.TPM, handle tpm2.TPMHandle, name tpm2.TPM2BName, to tpm2.TPMHandle) {
	t.Helper()
	_, err := tpm2.EvictControl{
		Auth: tpm2.TPMRHOwner, ObjectHandle: &tpm2.NamedHandle{Handle: handle, Name: name}, PersistentHandle: to,
	}.Execute(patient{chip})
	if err != nil {
		t.Fatal(err)
	}
}

// patient sends a command again while swtpm asks for it: it does before the first
// use of a key that is counted.
type patient struct{ *tpmtest.TPM }

var _ transport.TPM = patient{}

// Send implements [transport.TPM].
func (p patient) Send(command []byte) ([]byte, error) {
	for {
		answer, err := p.TPM.Send(command)
		if err != nil || len(answer) < 10 || tpm2.TPMRC(binary.BigEndian.Uint32(answer[6:])) != tpm2.TPMRCRetry {
			return answer, err
		}
	}
}

// storeForeign puts a key file into a new key folder.
func storeForeign(t *testing.T, f tpm.OtherFile) (dir string) {
	t.Helper()
	data, err := f.PEM()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "foreign.tpm"), data)
	return dir
}

// TestParentsOfOtherPrograms: keys under every kind of parent sign, each signature
// by one command once they are loaded, also on a TPM with three slots that are full
// of our keys.
func TestParentsOfOtherPrograms(t *testing.T) {
	counted := func(p *tpm2.TPMTPublic) { p.ObjectAttributes.NoDA = false } // as tpm2-tools makes them
	for name, p := range map[string]otherParent{
		"owner":                      {hierarchy: tpm2.TPMRHOwner},
		"owner RSA":                  {hierarchy: tpm2.TPMRHOwner, rsa: true},
		"endorsement":                {hierarchy: tpm2.TPMRHEndorsement},
		"endorsement RSA":            {hierarchy: tpm2.TPMRHEndorsement, rsa: true},
		"platform":                   {hierarchy: tpm2.TPMRHPlatform},
		"null":                       {hierarchy: tpm2.TPMRHNull},
		"storage primary persistent": {hierarchy: tpm2.TPMRHOwner, handle: 0x81000001},
		"persistent":                 {hierarchy: tpm2.TPMRHOwner, handle: persistent, change: counted},
		"persistent RSA":             {hierarchy: tpm2.TPMRHOwner, rsa: true, handle: persistent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const pin = "correct horse"
			chip := tpmtest.Start(t)
			dir := storeForeign(t, p.makeKey(t, chip, pin))
			b := backendOver(t, chip.Open(), dir, lend(t, pin))
			foreign := keytest.Only(t, b)
			digest := digestFor(crypto.SHA256)
			signature, err := foreign.SignContext(t.Context(), digest, crypto.SHA256)
			if err != nil || !keytest.Verifies(foreign.Public(), crypto.SHA256, digest, signature) {
				t.Fatal(err)
			}
			chip.Commands()
			mustSign(t, foreign)
			if got := chip.Commands(); !slices.Equal(got, []tpm2.TPMCC{tpm2.TPMCCSign}) {
				t.Errorf("a signature took %v", got)
			}
			for _, name := range []string{"a", "b"} {
				mustSign(t, create(t, b, name, key.P256, nil))
			}
			mustSign(t, foreign)
			if chip.Saw([]byte(pin)) {
				t.Error("the PIN was seen")
			}
		})
	}
}

// TestParentsThatCannotBeUsed: each has its own class and says why.
func TestParentsThatCannotBeUsed(t *testing.T) {
	for name, c := range map[string]struct {
		p       otherParent
		spoil   func(t *testing.T, chip *tpmtest.TPM)
		want    error
		says    string
		lockout uint32
	}{
		"nothing at the handle": {
			p: otherParent{hierarchy: tpm2.TPMRHOwner, handle: persistent},
			spoil: func(t *testing.T, chip *tpmtest.TPM) {
				rsp, err := tpm2.ReadPublic{ObjectHandle: persistent}.Execute(chip)
				if err != nil {
					t.Fatal(err)
				}
				evict(t, chip, persistent, rsp.Name, persistent)
			},
			want: key.ErrForeign, says: "keeps nothing there",
		},
		"another parent at the handle": {
			p: otherParent{hierarchy: tpm2.TPMRHOwner, handle: persistent},
			spoil: func(t *testing.T, chip *tpmtest.TPM) {
				rsp, err := tpm2.ReadPublic{ObjectHandle: persistent}.Execute(chip)
				if err != nil {
					t.Fatal(err)
				}
				evict(t, chip, persistent, rsp.Name, persistent)
				otherParent{hierarchy: tpm2.TPMRHOwner, rsa: true, handle: persistent}.makeKey(t, chip, "")
			},
			want: key.ErrForeign, says: "works only in the TPM that made it",
		},
		"parent with a password": {
			p:    otherParent{hierarchy: tpm2.TPMRHOwner, handle: persistent, auth: "secret"},
			want: key.ErrUnsupported, says: "has a password",
		},
		"parent with a password that is counted": {
			p: otherParent{hierarchy: tpm2.TPMRHOwner, handle: persistent, auth: "secret", change: func(p *tpm2.TPMTPublic) {
				p.ObjectAttributes.NoDA = false
			}},
			want: key.ErrUnsupported, says: "has a password", lockout: 1,
		},
		"hierarchy with a password": {
			p: otherParent{hierarchy: tpm2.TPMRHEndorsement},
			spoil: func(t *testing.T, chip *tpmtest.TPM) {
				_, err := tpm2.HierarchyChangeAuth{
					AuthHandle: tpm2.TPMRHEndorsement, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("secret")},
				}.Execute(chip)
				if err != nil {
					t.Fatal(err)
				}
			},
			want: key.ErrUnsupported, says: "hierarchy has a password",
		},
		"hierarchy that is switched off": {
			p: otherParent{hierarchy: tpm2.TPMRHEndorsement},
			spoil: func(t *testing.T, chip *tpmtest.TPM) {
				// TPM2_HierarchyControl by the platform, whose password is empty;
				// go-tpm does not have it.
				answer, err := chip.Send([]byte("\x80\x02\x00\x00\x00\x20\x00\x00\x01\x21\x40\x00\x00\x0c" +
					"\x00\x00\x00\x09\x40\x00\x00\x09\x00\x00\x00\x00\x00" + "\x40\x00\x00\x0b\x00"))
				if err != nil || !bytes.HasSuffix(answer[:10], make([]byte, 4)) {
					t.Fatalf("%x, %v", answer, err)
				}
			},
			want: key.ErrUnsupported, says: "switched off",
		},
		"null hierarchy after a reset": {
			p:     otherParent{hierarchy: tpm2.TPMRHNull},
			spoil: func(_ *testing.T, chip *tpmtest.TPM) { chip.Kill(); chip.Restart() },
			want:  key.ErrForeign, says: "dies when its TPM is reset",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chip := tpmtest.Start(t)
			chip.ExpectLockout(c.lockout)
			dir := storeForeign(t, c.p.makeKey(t, chip, ""))
			if c.spoil != nil {
				c.spoil(t, chip)
			}
			b := backendOver(t, chip.Open(), dir, nil)
			for range 3 { // whatever is counted, is counted once
				err := sign(t.Context(), keytest.Only(t, b))
				text := strings.Join(append(hint.Of(err), ""), "; ")
				if !errors.Is(err, c.want) || !strings.Contains(err.Error()+"; "+text, c.says) {
					t.Errorf("%v, hints %q", err, text)
				}
			}
			mustSign(t, create(t, b, "own", key.P256, nil))
		})
	}
}

// TestHandleOfNoParent: what is kept at the handle is not a storage key, or not one
// for us; nothing is tried with it.
func TestHandleOfNoParent(t *testing.T) {
	for name, change := range map[string]func(*tpm2.TPMTPublic){
		"signing key": func(p *tpm2.TPMTPublic) { *p = tpm.KeyTemplate() },
		"policy":      func(p *tpm2.TPMTPublic) { p.ObjectAttributes.UserWithAuth = false },
	} {
		t.Run(name, func(t *testing.T) {
			chip := tpmtest.Start(t)
			f := otherParent{hierarchy: tpm2.TPMRHOwner, handle: persistent + 1}.makeKey(t, chip, "")
			otherParent{hierarchy: tpm2.TPMRHOwner, handle: persistent, change: change}.makeKey(t, chip, "")
			f.Parent = uint32(persistent)
			b := backendOver(t, chip.Open(), storeForeign(t, f), nil)
			err := sign(t.Context(), keytest.Only(t, b))
			if !errors.Is(err, key.ErrForeign) && !errors.Is(err, key.ErrUnsupported) {
				t.Errorf("%v", err)
			}
			if slices.Contains(chip.Commands(), tpm2.TPMCCLoad) {
				t.Error("it was used as a parent")
			}
		})
	}
}
