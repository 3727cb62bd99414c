package tpm_test

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// storageArea reads the storage key as the other program wants it, past our code.
func (w *bench) storageArea() []byte {
	w.Helper()
	primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm.StorageTemplate())}.Execute(w.chip)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := (tpm2.FlushContext{FlushHandle: primary.ObjectHandle}).Execute(w.chip); err != nil {
		w.Fatal(err)
	}
	return primary.OutPublic.Bytes()
}

// TestImportOfKeysWrappedByKeyfiles: what the library behind ssh-tpm-agent wraps for
// this TPM, with its description and PIN.
func TestImportOfKeysWrappedByKeyfiles(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	w.file("target", w.storageArea())
	b := backendOver(t, w.chip.Open(), w.keys, lend(t, interopPIN))
	for name, c := range map[string]struct {
		alg  key.Algorithm
		args []string
	}{
		"p256":    {key.P256, nil},
		"p384":    {key.P384, []string{"-pin", "pin"}},
		"p521":    {key.P521, []string{"-description", "a comment, with ü"}},
		"rsa2048": {key.RSA2048, nil},
	} {
		soft := softKey(t, c.alg)
		der, err := x509.MarshalPKCS8PrivateKey(soft)
		if err != nil {
			t.Fatal(err)
		}
		w.file(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		file := w.run(testenv.KeyFiles, nil, append(append([]string{"wrap", "-target", "target"}, c.args...), name+".pem")...)
		s, err := b.Import(t.Context(), key.ImportSpec{Name: name, File: file})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if in := s.Info(); !in.Imported || in.Usage != key.SSH || in.Policy.PIN != (name == "p384") {
			t.Errorf("%s: %+v", name, in)
		}
		if name == "p521" && s.Info().Comment != c.args[1] {
			t.Errorf("comment %q", s.Info().Comment)
		}
		verified(t, s, soft)
	}
}

// TestOurWrappedKeysInKeyfiles: the library imports what we wrapped, and signs.
func TestOurWrappedKeysInKeyfiles(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	d := w.chip.Open()
	parent := parentOf(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		alg key.Algorithm
		o   tpm.WrapOptions
	}{
		"p256": {key.P256, tpm.WrapOptions{Usage: key.SSH}},
		"p384": {key.P384, tpm.WrapOptions{Usage: key.Artifact, Description: "moved"}},
		"pin":  {key.P256, tpm.WrapOptions{Usage: key.SSH, PIN: keytest.Lend([]byte(interopPIN))}},
		"rsa":  {key.RSA2048, tpm.WrapOptions{Usage: key.SSH}},
	} {
		soft := softKey(t, c.alg)
		w.file("wrapped", wrap(t, parent, soft, c.o))
		w.file("imported", w.run(testenv.KeyFiles, nil, "import", "-tpm", w.socket(), "wrapped"))
		signature := w.run(testenv.KeyFiles, digestFor(crypto.SHA256), "sign", "-tpm", w.socket(), "-pin", "pin", "imported")
		if !keytest.Verifies(soft.Public(), crypto.SHA256, digestFor(crypto.SHA256), signature) {
			t.Errorf("%s: its signature does not verify", name)
		}
	}
}

// TestImportedKeysInOpenSSL: the file that an import stores is a key of the TPM for
// tpm2-openssl too, and the signature is the old key's.
func TestImportedKeysInOpenSSL(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	d := w.chip.Open()
	b, parent := backendOver(t, d, w.keys, nil), parentOf(t, d)
	pin := keytest.Lend([]byte(interopPIN))
	for name, c := range map[string]struct {
		alg key.Algorithm
		o   tpm.WrapOptions
	}{
		"p256": {key.P256, tpm.WrapOptions{Usage: key.SSH, Description: "which it would refuse"}},
		"p384": {key.P384, tpm.WrapOptions{Usage: key.SSH, PIN: pin}},
		"rsa":  {key.RSA2048, tpm.WrapOptions{Usage: key.SSH, PIN: pin}},
	} {
		soft := softKey(t, c.alg)
		if _, err := b.Import(t.Context(), key.ImportSpec{Name: name, File: wrap(t, parent, soft, c.o)}); err != nil {
			t.Fatal(err)
		}
		w.file(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki(t, soft.Public())}))
	}
	closed(t, b)
	for _, name := range []string{"p256", "p384", "rsa"} {
		w.openssl("dgst", "-sha256", "-sign", filepath.Join(w.keys, name+".tpm"), "-passin", "file:pin", "-out", "signature", "message")
		w.run(testenv.OpenSSL, nil, "dgst", "-sha256", "-verify", name+".pem", "-signature", "signature", "message")
	}
}

// TestImportUnderOtherParents: keys that other software made under parents of its
// own; the record names the parent.
func TestImportUnderOtherParents(t *testing.T) {
	chip := tpmtest.Start(t)
	files := map[string]tpm.OtherFile{
		"persistent":  otherParent{hierarchy: tpm2.TPMRHOwner, handle: persistent}.makeKey(t, chip, ""),
		"endorsement": otherParent{hierarchy: tpm2.TPMRHEndorsement}.makeKey(t, chip, ""),
	}
	dir := filepath.Join(t.TempDir(), "keys")
	b := backendOver(t, chip.Open(), dir, nil)
	seen := map[string]bool{}
	for name, file := range files {
		s, err := importOther(t, b, name, file)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		mustSign(t, s)
		in := infos(t, dir)[name]
		if in.Parent == "" || in.Parent != s.Info().Parent || seen[in.Parent] {
			t.Errorf("%s: parent %q", name, in.Parent)
		}
		seen[in.Parent] = true
	}
	lost := files["persistent"]
	lost.Parent = 0x81000077
	if _, err := importOther(t, b, "lost", lost); !errors.Is(err, key.ErrForeign) {
		t.Errorf("a parent that is not there: %v", err)
	}
}

func importOther(t *testing.T, b *tpm.Backend, name string, file tpm.OtherFile) (key.Signer, error) {
	t.Helper()
	data, err := file.PEM()
	if err != nil {
		t.Fatal(err)
	}
	return b.Import(t.Context(), key.ImportSpec{Name: name, File: data})
}
