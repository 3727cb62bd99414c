package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

func spki(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// repin gives a device the pin of another one.
func repin(t *testing.T, dataDir, from, to string) {
	t.Helper()
	path := filepath.Join(dataDir, "tpm.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, bytes.Replace(data, []byte(from), []byte(to), 1))
}

// target is a TPM with a key folder, and its storage key.
type target struct {
	chip   *tpmtest.TPM
	dir    string
	b      *tpm.Backend
	parent *ecdsa.PublicKey
}

func newTarget(t *testing.T, auth key.AuthFunc) *target {
	t.Helper()
	chip := tpmtest.Start(t)
	d := chip.Open()
	dir := filepath.Join(t.TempDir(), "keys")
	return &target{chip, dir, backendOver(t, d, dir, auth), parentOf(t, d)}
}

func (g *target) mustImport(t *testing.T, name string, file []byte) key.Signer {
	t.Helper()
	s, err := g.b.Import(t.Context(), key.ImportSpec{Name: name, File: file})
	if err != nil {
		t.Fatalf("import %s: %v (%q)", name, err, hint.Of(err))
	}
	return s
}

// wantRefused imports a file that must be refused, and nothing may be written.
func (g *target) wantRefused(t *testing.T, what string, file []byte, want error) error {
	t.Helper()
	_, err := g.b.Import(t.Context(), key.ImportSpec{Name: "refused", File: file})
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v", what, err, want)
	}
	if left, _ := filepath.Glob(filepath.Join(g.dir, "refused*")); len(left) != 0 {
		t.Errorf("%s: left %q", what, left)
	}
	return err
}

// verified signs with a key and checks the signature with the software key that
// it is.
func verified(t *testing.T, s key.Signer, soft crypto.Signer) {
	t.Helper()
	h := s.Info().Algorithm.Hash()
	digest := make([]byte, h.Size())
	signature, err := s.SignContext(t.Context(), digest, h)
	if err != nil {
		t.Fatalf("sign with %s: %v", s.Info().Ref, err)
	}
	if !keytest.Verifies(soft.Public(), h, digest, signature) {
		t.Errorf("%s signs with another key", s.Info().Ref)
	}
}

func TestImport(t *testing.T) {
	g := newTarget(t, nil)
	name, err := tpm.StorageName(g.parent)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []key.Algorithm{key.P256, key.P384, key.P521, key.RSA2048, key.RSA3072} {
		soft := softKey(t, alg)
		file := wrap(t, g.parent, soft, tpm.WrapOptions{Usage: key.Artifact, Description: "from the old laptop"})
		described, err := tpm.Describe(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := g.b.Import(t.Context(), key.ImportSpec{Name: string(alg), File: file, Unattended: true})
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		in := s.Info()
		if !in.Imported || in.Usage != key.Artifact || in.Algorithm != alg || in.Policy != (key.Policy{Uncounted: true, Unattended: true}) ||
			in.Parent != name || in.Comment != "from the old laptop" || in.Created.IsZero() {
			t.Errorf("info %+v", in)
		}
		if described.ID != in.ID || described.Usage != in.Usage || !described.Imported || described.Policy.PIN {
			t.Errorf("the file was described as %+v", described)
		}
		if diff := cmp.Diff(in, infos(t, g.dir)[string(alg)], samePublic); diff != "" {
			t.Error(diff)
		}
		verified(t, s, soft)
		stored, err := os.ReadFile(filepath.Join(g.dir, string(alg)+".tpm"))
		if err != nil {
			t.Fatal(err)
		}
		// What is stored is a loadable key, which another program would take as well.
		if again := g.mustImport(t, string(alg)+"-copy", stored); again.Info().ID != in.ID {
			t.Errorf("the stored file is another key: %+v", again.Info())
		}
		if tpm.HasDescription(stored) {
			t.Error("the stored file has a description, which tpm2-openssl refuses")
		}
	}
}

var samePublic = cmp.Comparer(func(a, b key.Info) bool {
	a.Public, b.Public = nil, nil // compared by ID
	return a == b
})

// TestImportWhatTheChipLacks: swtpm has no RSA-4096.
func TestImportWhatTheChipLacks(t *testing.T) {
	g := newTarget(t, nil)
	file := wrap(t, g.parent, softKey(t, key.RSA4096), tpm.WrapOptions{Usage: key.SSH})
	err := g.wantRefused(t, "RSA-4096", file, key.ErrUnsupported)
	if text := strings.Join(hint.Of(err), "\n"); !strings.Contains(text, "rsa3072") {
		t.Errorf("advice %q does not say what works", text)
	}
}

func TestImportWithPIN(t *testing.T) {
	pins := map[string]string{"plain": "right PIN", "zero": "with\x00zero", "longest": strings.Repeat("9", 32)}
	given := map[string]string{"wrong": "wrong PIN"}
	for name, pin := range pins {
		given[name] = pin
	}
	g := newTarget(t, byName(given))
	g.chip.ExpectLockout(1)
	for name, pin := range pins {
		soft := softKey(t, key.P256)
		file := wrap(t, g.parent, soft, tpm.WrapOptions{Usage: key.SSH, PIN: keytest.Lend([]byte(pin))})
		s := g.mustImport(t, name, file)
		if p := s.Info().Policy; !p.PIN || p.Uncounted {
			t.Errorf("policy %+v", p)
		}
		verified(t, s, soft)
		if g.chip.Saw([]byte(pin)) {
			t.Errorf("PIN %q crossed the connection", pin)
		}
	}
	file := wrap(t, g.parent, softKey(t, key.P256), tpm.WrapOptions{Usage: key.SSH, PIN: keytest.Lend([]byte("right PIN"))})
	err := sign(t.Context(), g.mustImport(t, "wrong", file))
	if wrong, isPIN := errors.AsType[*key.PINError](err); !isPIN || wrong.TriesLeft != 2 {
		t.Errorf("wrong PIN: %v; want one counted try", err)
	}
}

// byName is an AuthFunc that knows the PINs of keys by their names.
func byName(pins map[string]string) key.AuthFunc {
	return func(_ context.Context, r key.AuthRequest, use func([]byte) error) error {
		return use([]byte(pins[r.Key.Ref.Name]))
	}
}

// TestImportOfOneKeyTwice: the same key under two PINs has one Name. Neither may
// be taken for the other, or a right PIN would count as a wrong one.
func TestImportOfOneKeyTwice(t *testing.T) {
	g := newTarget(t, byName(map[string]string{"one": "1111", "two": "2222"}))
	soft := softKey(t, key.P256)
	file := func(pin string) []byte {
		return wrap(t, g.parent, soft, tpm.WrapOptions{Usage: key.SSH, PIN: keytest.Lend([]byte(pin))})
	}
	one := g.mustImport(t, "one", file("1111"))
	verified(t, one, soft)
	two := g.mustImport(t, "two", file("2222"))
	verified(t, two, soft)
	verified(t, one, soft)
}

// TestImportLeadingZeros: numbers that begin with zeros keep their length.
func TestImportLeadingZeros(t *testing.T) {
	g := newTarget(t, nil)
	keys := map[string]*ecdsa.PrivateKey{}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		size := (curve.Params().BitSize + 7) / 8
		name := curve.Params().Name
		for keys[name+" x"] == nil || keys[name+" y"] == nil {
			scalar := make([]byte, size)
			rand.Read(scalar[3:])
			k, err := ecdsa.ParseRawPrivateKey(curve, scalar)
			if err != nil {
				t.Fatal(err)
			}
			point, err := k.PublicKey.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			keys[name+" d"] = k
			if point[1] == 0 {
				keys[name+" x"] = k
			}
			if point[1+size] == 0 {
				keys[name+" y"] = k
			}
		}
	}
	for name, k := range keys {
		file := wrap(t, g.parent, k, tpm.WrapOptions{Usage: key.SSH})
		s := g.mustImport(t, strings.ToLower(strings.ReplaceAll(name, " ", "-")), file)
		verified(t, s, k)
	}
	if len(keys) != 9 {
		t.Errorf("%d keys, want 9", len(keys))
	}
}

// TestImportUnderAParentWithZeros clears the TPM until its storage key begins with
// a zero.
func TestImportUnderAParentWithZeros(t *testing.T) {
	chip := tpmtest.Start(t)
	for range 5000 {
		clearOwner := tpm2.Clear{AuthHandle: tpm2.TPMRHLockout}
		if _, err := clearOwner.Execute(chip); err != nil {
			t.Fatal(err)
		}
		primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm.StorageTemplate())}.Execute(chip)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (tpm2.FlushContext{FlushHandle: primary.ObjectHandle}).Execute(chip); err != nil {
			t.Fatal(err)
		}
		area, err := primary.OutPublic.Contents()
		if err != nil {
			t.Fatal(err)
		}
		point, err := area.Unique.ECC()
		if err != nil {
			t.Fatal(err)
		}
		if point.X.Buffer[0] != 0 && point.Y.Buffer[0] != 0 && len(point.X.Buffer) == 32 && len(point.Y.Buffer) == 32 {
			continue
		}
		d := chip.Open()
		b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
		soft := softKey(t, key.P256)
		s, err := b.Import(t.Context(), key.ImportSpec{Name: "k", File: wrap(t, parentOf(t, d), soft, tpm.WrapOptions{Usage: key.SSH})})
		if err != nil {
			t.Fatalf("under %x, %x: %v", point.X.Buffer, point.Y.Buffer, err)
		}
		verified(t, s, soft)
		return
	}
	t.Fatal("no storage key with a leading zero in 5000")
}

// TestImportOfAnotherTPMsKey: wrapped or loadable, it is said whose it is.
func TestImportOfAnotherTPMsKey(t *testing.T) {
	g, other := newTarget(t, nil), newTarget(t, nil)
	wrapped := wrap(t, other.parent, softKey(t, key.P256), tpm.WrapOptions{Usage: key.SSH})
	create(t, other.b, "made", key.P256, nil)
	made, err := os.ReadFile(filepath.Join(other.dir, "made.tpm"))
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{"wrapped": wrapped, "loadable": made} {
		err := g.wantRefused(t, name, file, key.ErrForeign)
		if len(hint.Of(err)) == 0 {
			t.Errorf("%s: no advice with %v", name, err)
		}
	}
	other.mustImport(t, "wrapped", wrapped)
	other.mustImport(t, "loadable", made)
}

// TestImportOfALoadableKey: one that other software made for this TPM.
func TestImportOfALoadableKey(t *testing.T) {
	g := newTarget(t, nil)
	name, err := tpm.StorageName(g.parent)
	if err != nil {
		t.Fatal(err)
	}
	first := create(t, g.b, "first", key.P256, nil)
	file, err := os.ReadFile(filepath.Join(g.dir, "first.tpm"))
	if err != nil {
		t.Fatal(err)
	}
	s := g.mustImport(t, "second", file)
	if in := s.Info(); in.Imported || in.Parent != name || in.ID != first.Info().ID || in.Comment != "second" {
		t.Errorf("info %+v", in)
	}
	mustSign(t, s)
	stored, err := os.ReadFile(filepath.Join(g.dir, "second.tpm"))
	if err != nil || !bytes.Equal(stored, file) {
		t.Errorf("the file was changed (%v):\n%s", err, stored)
	}
}

// TestImportOfADamagedFile flips bits all over the wrapped parts.
func TestImportOfADamagedFile(t *testing.T) {
	g := newTarget(t, nil)
	good := wrap(t, g.parent, softKey(t, key.P256), tpm.WrapOptions{Usage: key.SSH})
	block, _ := pem.Decode(good)
	public, private, err := tpm.Areas(good)
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.Index(block.Bytes, public)
	for _, where := range []int{
		first + 45,                             // the point
		first + len(public) - 1,                // its end
		bytes.Index(block.Bytes, private) + 5,  // the HMAC
		bytes.Index(block.Bytes, private) + 40, // what it covers
		len(block.Bytes) - 1,                   // the end of that
		bytes.Index(block.Bytes, []byte{0x04, 0x46, 0x00, 0x44}) + 10, // the seed's point
	} {
		der := bytes.Clone(block.Bytes)
		der[where] ^= 1
		_, err := g.b.Import(t.Context(), key.ImportSpec{Name: "refused", File: pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der})})
		if err == nil {
			t.Errorf("octet %d: accepted", where)
		}
	}
	wantListed(t, g.b, nil, nil)
	g.mustImport(t, "good", good)
}

// TestImportIntoAFullTPM: the slots are full of keys in use. The storage key can be
// had without touching them, and an import gives back the slot that it takes.
func TestImportIntoAFullTPM(t *testing.T) {
	g := newTarget(t, nil)
	keys := []key.Signer{create(t, g.b, "one", key.P256, nil), create(t, g.b, "two", key.P256, nil)}
	use := func() {
		t.Helper()
		for _, k := range keys {
			mustSign(t, k)
		}
	}
	use()
	g.chip.Commands()
	if _, err := tpm.StorageOf(t.Context(), g.b); err != nil {
		t.Fatal(err)
	}
	use()
	commands := g.chip.Commands()
	if n := tpmtest.Count(commands, tpm2.TPMCCLoad) + tpmtest.Count(commands, tpm2.TPMCCContextLoad); n != 0 {
		t.Errorf("the keys were unloaded: %v", commands)
	}
	soft := softKey(t, key.P256)
	keys = append(keys, g.mustImport(t, "three", wrap(t, g.parent, soft, tpm.WrapOptions{Usage: key.SSH})))
	use()
	verified(t, keys[2], soft)
}

func TestImportOverAName(t *testing.T) {
	g := newTarget(t, nil)
	create(t, g.b, "taken", key.P256, nil)
	file := wrap(t, g.parent, softKey(t, key.P256), tpm.WrapOptions{Usage: key.SSH})
	soft := softKey(t, key.P256)
	g.mustImport(t, "first", wrap(t, g.parent, soft, tpm.WrapOptions{Usage: key.SSH}))
	again := wrap(t, g.parent, soft, tpm.WrapOptions{Usage: key.Digest})
	for name, c := range map[string]struct {
		spec key.ImportSpec
		want error
	}{
		"taken":       {key.ImportSpec{Name: "taken", File: file}, key.ErrExists},
		"two usages":  {key.ImportSpec{Name: "two", File: again}, key.ErrExists},
		"bad name":    {key.ImportSpec{Name: "../k", File: file}, key.ErrUsage},
		"bad comment": {key.ImportSpec{Name: "k", Comment: "a\nb", File: file}, key.ErrUsage},
		"no file":     {key.ImportSpec{Name: "k"}, key.ErrUsage},
		"no key file": {key.ImportSpec{Name: "k", File: []byte("hello")}, key.ErrUsage},
	} {
		if _, err := g.b.Import(t.Context(), c.spec); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
	wantListed(t, g.b, []string{"first", "taken"}, nil)
}

// TestImportFaults: what is lost on the way is done again; a refusal leaves nothing.
func TestImportFaults(t *testing.T) {
	g := newTarget(t, nil)
	soft := softKey(t, key.P256)
	file := wrap(t, g.parent, soft, tpm.WrapOptions{Usage: key.SSH})
	kinds := map[string]tpmtest.Kind{
		"before": tpmtest.FailBefore, "after": tpmtest.FailAfter, "cut": tpmtest.Cut, "split": tpmtest.Split,
	}
	for name, kind := range kinds {
		for _, command := range []tpm2.TPMCC{tpm2.TPMCCTestParms, tpm2.TPMCCImport, tpm2.TPMCCLoad, tpm2.TPMCCFlushContext} {
			g.chip.Inject(tpmtest.Fault{On: command, Kind: kind})
			s := g.mustImport(t, "k", file)
			verified(t, s, soft)
			if err := g.b.Delete(t.Context(), s.Info().Ref); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	for code, want := range map[tpm2.TPMRC]error{
		tpm2.TPMRCSize: key.ErrUnsupported, tpm2.TPMRCValue: key.ErrUnsupported, tpm2.TPMRCIntegrity: key.ErrForeign,
		tpm2.TPMRCLockout: tpm2.TPMRCLockout, tpm2.TPMRCFailure: tpm2.TPMRCFailure,
	} {
		for _, command := range []tpm2.TPMCC{tpm2.TPMCCImport, tpm2.TPMCCLoad} {
			g.chip.Inject(tpmtest.Fault{On: command, Kind: tpmtest.Answer, Code: code})
			err := g.wantRefused(t, code.Error(), file, want)
			if len(hint.Of(err)) == 0 {
				t.Errorf("%v: no advice", err)
			}
		}
	}
	g.chip.Inject(tpmtest.Fault{On: tpm2.TPMCCImport, Kind: tpmtest.Garble})
	if _, err := g.b.Import(t.Context(), key.ImportSpec{Name: "k", File: file}); err == nil || !strings.Contains(err.Error(), "HMAC") {
		t.Errorf("a changed answer: %v", err)
	}
	wantListed(t, g.b, nil, nil)
	verified(t, g.mustImport(t, "k", file), soft)
}
