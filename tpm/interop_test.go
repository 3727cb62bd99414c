package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

const interopPIN = "correct horse"

// bench is a TPM with the programs of others around it, and files between them.
type bench struct {
	*testing.T
	chip *tpmtest.TPM
	keys string // a key folder
	dir  string // everything else
	env  []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	w := &bench{T: t, chip: tpmtest.Start(t), keys: filepath.Join(t.TempDir(), "keys"), dir: t.TempDir()}
	if err := os.Mkdir(w.keys, 0o700); err != nil {
		t.Fatal(err)
	}
	tcti := w.chip.TCTI()
	w.env = append(os.Environ(), "TPM2TOOLS_TCTI="+tcti, "TPM2OPENSSL_TCTI="+tcti, "TSS2_LOG=all+NONE")
	w.file("pin", []byte(interopPIN))
	w.file("message", []byte("a message"))
	return w
}

// file writes a file of the working folder.
func (w *bench) file(name string, data []byte) {
	w.Helper()
	write(w.T, filepath.Join(w.dir, name), data)
}

// run runs a program in the working folder.
func (w *bench) run(p testenv.Program, in []byte, args ...string) (stdout []byte) {
	w.Helper()
	cmd := exec.Command(testenv.Need(w, p), args...)
	var errOut bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stderr = w.dir, w.env, bytes.NewReader(in), &errOut
	stdout, err := cmd.Output()
	if err != nil {
		w.Fatalf("%s %q: %v\n%s", p, args, err, errOut.Bytes())
	}
	return stdout
}

// openssl runs OpenSSL with tpm2-openssl.
func (w *bench) openssl(command string, args ...string) {
	w.Helper()
	testenv.Need(w, testenv.TPM2OpenSSL)
	all := []string{command, "-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2"}
	w.run(testenv.OpenSSL, nil, append(all, args...)...)
}

// tpm2 runs a program of tpm2-tools, which leave objects and sessions in a TPM
// without a resource manager.
func (w *bench) tpm2(p testenv.Program, args ...string) {
	w.Helper()
	w.run(p, nil, args...)
	for _, first := range []tpm2.TPMHandle{0x80000000, 0x02000000} {
		rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: uint32(first), PropertyCount: 9}.Execute(w.chip)
		if err != nil {
			w.Fatal(err)
		}
		left, err := rsp.CapabilityData.Data.Handles()
		if err != nil {
			w.Fatal(err)
		}
		for _, h := range left.Handle {
			if _, err := (tpm2.FlushContext{FlushHandle: h}).Execute(w.chip); err != nil {
				w.Fatal(err)
			}
		}
	}
}

// backend opens our backend; it must be closed before others use the TPM.
func (w *bench) backend() *tpm.Backend {
	w.Helper()
	return backendOver(w.T, w.chip.Open(), w.keys, lend(w.T, interopPIN))
}

// wantSigns has us sign with the keys of the folder, in SHA-256 and, as the schemes
// are open, in SHA-512.
func (w *bench) wantSigns(names ...string) {
	w.Helper()
	b := w.backend()
	defer closed(w.T, b)
	found := map[string]key.Signer{}
	for s, err := range b.Keys(w.Context()) {
		if err != nil {
			w.Error(err)
			continue
		}
		found[s.Info().Ref.Name] = s
	}
	for _, name := range names {
		s := found[name]
		if s == nil {
			w.Errorf("%s: not listed", name)
			continue
		}
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA512} {
			signature, err := s.SignContext(w.Context(), digestFor(h), h)
			if err != nil || !keytest.Verifies(s.Public(), h, digestFor(h), signature) {
				w.Errorf("%s signs with %v: %v", name, h, err)
			}
		}
	}
}

// keep moves a file of the working folder into the key folder.
func (w *bench) keep(name string) {
	w.Helper()
	path := filepath.Join(w.dir, name+".tpm")
	if err := errors.Join(os.Chmod(path, 0o600), os.Rename(path, filepath.Join(w.keys, name+".tpm"))); err != nil {
		w.Fatal(err)
	}
}

// TestOurKeysInOpenSSL: OpenSSL signs with our key files, by digest and by whole
// message; its own code verifies; a right PIN counts nothing.
func TestOurKeysInOpenSSL(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	b := w.backend()
	for _, alg := range []key.Algorithm{key.P256, key.P384, key.RSA2048} {
		for name, pin := range map[string][]byte{string(alg): nil, string(alg) + "-pin": []byte(interopPIN)} {
			s := create(t, b, name, alg, pin)
			der, err := x509.MarshalPKIXPublicKey(s.Public())
			if err != nil {
				t.Fatal(err)
			}
			w.file(name+".pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		}
	}
	closed(t, b)
	for name, hash := range map[string]string{
		"p256": "sha256", "p384": "sha384", "rsa2048": "sha512", "p256-pin": "sha256", "p384-pin": "sha384", "rsa2048-pin": "sha256",
	} {
		file := filepath.Join(w.keys, name+".tpm")
		w.openssl("dgst", "-"+hash, "-sign", file, "-passin", "file:pin", "-out", "signature", "message")
		w.run(testenv.OpenSSL, nil, "dgst", "-"+hash, "-verify", name+".pem", "-signature", "signature", "message")
		w.openssl("pkeyutl", "-sign", "-rawin", "-digest", hash, "-inkey", file, "-passin", "file:pin", "-in", "message", "-out", "signature")
		w.run(testenv.OpenSSL, nil, "pkeyutl", "-verify", "-rawin", "-digest", hash, "-pubin", "-inkey", name+".pem", "-in", "message", "-sigfile", "signature")
	}
}

// TestCutDigestInOpenSSL: a signature for a digest that we cut verifies where it is
// not cut.
func TestCutDigestInOpenSSL(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	s := create(t, w.backend(), "k", key.P256, nil)
	digest := sha512.Sum512([]byte("a message"))
	signature, err := s.SignContext(t.Context(), digest[:], crypto.SHA512)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	w.file("k.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	w.file("signature", signature)
	w.run(testenv.OpenSSL, nil, "dgst", "-sha512", "-verify", "k.pem", "-signature", "signature", "message")
}

// TestKeysOfOpenSSL: we sign with what tpm2-openssl made.
func TestKeysOfOpenSSL(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	w.tpm2(testenv.TPM2CreatePrimary, "-Q", "-C", "o", "-G", "ecc", "-c", "primary.ctx")
	w.tpm2(testenv.TPM2EvictControl, "-Q", "-C", "o", "-c", "primary.ctx", "0x81000010")
	w.tpm2(testenv.TPM2CreatePrimary, "-Q", "-C", "o", "-G", "rsa", "-c", "primary.ctx")
	w.tpm2(testenv.TPM2EvictControl, "-Q", "-C", "o", "-c", "primary.ctx", "0x81000011")
	var names []string
	for name, options := range map[string][]string{
		"p256":           {"EC", "group:P-256"},
		"p256-pin":       {"EC", "group:P-256", "user-auth:" + interopPIN},
		"p384":           {"EC", "group:P-384"},
		"rsa2048-pin":    {"RSA", "bits:2048", "user-auth:" + interopPIN},
		"rsa3072":        {"RSA", "bits:3072"},
		"persistent":     {"EC", "group:P-256", "parent:0x81000010", "user-auth:" + interopPIN},
		"persistent-rsa": {"EC", "group:P-256", "parent:0x81000011"},
		"hierarchy":      {"EC", "group:P-256", "parent:0x40000001"},
	} {
		args := []string{"-algorithm", options[0], "-out", name + ".tpm"}
		for _, o := range options[1:] {
			args = append(args, "-pkeyopt", o)
		}
		w.openssl("genpkey", args...)
		w.keep(name)
		names = append(names, name)
	}
	w.wantSigns(names...)
}

// storageAttributes make tpm2_createprimary's key the one of the template H-2.
const storageAttributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"

// TestKeysOfTPM2Tools: we sign with what tpm2-tools made, under a primary and under
// a persistent parent.
func TestKeysOfTPM2Tools(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	w.tpm2(testenv.TPM2CreatePrimary, "-Q", "-C", "o", "-G", "ecc", "-c", "own.ctx")
	w.tpm2(testenv.TPM2EvictControl, "-Q", "-C", "o", "-c", "own.ctx", "0x81000010")
	w.tpm2(testenv.TPM2CreatePrimary, "-Q", "-C", "o", "-G", "ecc", "-a", storageAttributes, "-c", "storage.ctx")
	for name, c := range map[string]struct{ parent, alg string }{
		"ecc":        {"storage.ctx", "ecc"},
		"ecdsa":      {"storage.ctx", "ecc256:ecdsa-sha256"}, // its scheme is fixed; see cutDigest
		"rsa":        {"storage.ctx", "rsa"},
		"persistent": {"0x81000010", "ecc"},
		"foreign":    {"own.ctx", "ecc"},
	} {
		w.tpm2(testenv.TPM2Create, "-Q", "-C", c.parent, "-G", c.alg, "-p", interopPIN, "-u", "public", "-r", "private")
		w.encodeObject(c.parent, name)
		w.keep(name)
	}
	w.wantSigns("ecc", "ecdsa", "rsa", "persistent")
	// A file has no room for a primary of one's own: it says "owner", and so
	// nobody finds the parent again.
	b := w.backend()
	foreign, err := tpmNamed(t, b, "foreign")
	if err != nil {
		t.Fatal(err)
	}
	if err := sign(t.Context(), foreign); !errors.Is(err, key.ErrForeign) {
		t.Errorf("key under a primary of another template: %v", err)
	}
}

// encodeObject writes the file of a key with a PIN. tpm2-tools before 5.8 have
// --key-auth say the opposite (their issue 3458), so what was written is looked at.
func (w *bench) encodeObject(parent, name string) {
	w.Helper()
	for _, more := range [][]string{{}, {"-p"}} {
		w.tpm2(testenv.TPM2EncodeObject, append([]string{"-C", parent, "-u", "public", "-r", "private", "-o", name + ".tpm"}, more...)...)
		if err := os.Chmod(filepath.Join(w.dir, name+".tpm"), 0o600); err != nil {
			w.Fatal(err)
		}
		if infos(w.T, w.dir)[name].Policy.PIN {
			return
		}
	}
	w.Fatalf("%s: tpm2_encodeobject never says that there is a PIN", name)
}

// tpmNamed finds a key by its name.
func tpmNamed(t *testing.T, b *tpm.Backend, name string) (key.Signer, error) {
	t.Helper()
	for s, err := range b.Keys(t.Context()) {
		if err != nil || s.Info().Ref.Name == name {
			return s, err
		}
	}
	return nil, key.ErrNotFound
}

// TestFileThatHidesItsPIN: the file says that there is no PIN, as those of
// tpm2_encodeobject may. One try is counted, however often the key is used.
func TestFileThatHidesItsPIN(t *testing.T) {
	chip := tpmtest.Start(t)
	chip.ExpectLockout(1)
	f := otherParent{hierarchy: 0x40000001}.makeKey(t, chip, "secret")
	f.HasPIN = false
	ask := func(context.Context, key.AuthRequest, func([]byte) error) error {
		t.Error("asked for a PIN")
		return key.ErrDenied
	}
	b := backendOver(t, chip.Open(), storeForeign(t, f), ask)
	for range 4 {
		err := sign(t.Context(), keytest.Only(t, b))
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte("has a PIN though")) {
			t.Errorf("got %v", err)
		}
	}
}
