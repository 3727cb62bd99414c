package tpm_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// softKey makes a software key.
func softKey(t *testing.T, alg key.Algorithm) crypto.Signer {
	t.Helper()
	k, err := tpm.Generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// parentOf is the storage key of a TPM.
func parentOf(t *testing.T, d *tpm.Device) *ecdsa.PublicKey {
	t.Helper()
	s, err := d.Storage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parent, err := tpm.ParseStorage(s.PEM())
	if err != nil {
		t.Fatal(err)
	}
	return parent
}

func wrap(t *testing.T, parent *ecdsa.PublicKey, k crypto.Signer, o tpm.WrapOptions) []byte {
	t.Helper()
	file, err := tpm.Wrap(t.Context(), parent, k, o)
	if err != nil {
		t.Fatalf("wrap: %v", err)
	}
	return file
}

// TestWrappedKeyIsImportedElsewhere imports our file as another program would.
func TestWrappedKeyIsImportedElsewhere(t *testing.T) {
	chip := tpmtest.Start(t)
	soft := softKey(t, key.P384)
	file := wrap(t, parentOf(t, chip.Open()), soft, tpm.WrapOptions{Usage: key.Artifact})
	public, duplicate, err := tpm.Areas(file)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := tpm.Seed(file)
	if err != nil {
		t.Fatal(err)
	}
	primary, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm.StorageTemplate())}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: primary.ObjectHandle}.Execute(chip)
	parent := tpm2.NamedHandle{Handle: primary.ObjectHandle, Name: primary.Name}
	imported, err := tpm2.Import{
		ParentHandle: parent, ObjectPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](public),
		Duplicate: tpm2.TPM2BPrivate{Buffer: duplicate}, InSymSeed: tpm2.TPM2BEncryptedSecret{Buffer: seed},
		Symmetric: tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull},
	}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tpm2.Load{
		ParentHandle: parent, InPrivate: imported.OutPrivate, InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](public),
	}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	defer tpm2.FlushContext{FlushHandle: loaded.ObjectHandle}.Execute(chip)
	digest := make([]byte, 48)
	rsp, err := tpm2.Sign{
		KeyHandle: tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}, Digest: tpm2.TPM2BDigest{Buffer: digest},
		InScheme: tpm2.TPMTSigScheme{
			Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA384}),
		},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	s, err := rsp.Signature.Signature.ECDSA()
	if err != nil {
		t.Fatal(err)
	}
	r, v := new(big.Int).SetBytes(s.SignatureR.Buffer), new(big.Int).SetBytes(s.SignatureS.Buffer)
	if !ecdsa.Verify(soft.Public().(*ecdsa.PublicKey), digest, r, v) {
		t.Error("the signature is not that of the software key")
	}
	area, err := tpm2.Unmarshal[tpm2.TPMTPublic](public)
	if err != nil {
		t.Fatal(err)
	}
	label := key.Artifact.Label()
	if !bytes.Equal(area.AuthPolicy.Buffer, label[:]) {
		t.Errorf("policy %x, want the label %x", area.AuthPolicy.Buffer, label)
	}
	if want := (tpm2.TPMAObject{UserWithAuth: true, NoDA: true, SignEncrypt: true}); area.ObjectAttributes != want {
		t.Errorf("attributes %+v", area.ObjectAttributes)
	}
}

func TestKeysThatCannotBeWrapped(t *testing.T) {
	parent := &softKey(t, key.P256).(*ecdsa.PrivateKey).PublicKey
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	good := softKey(t, key.RSA2048).(*rsa.PrivateKey)
	odd := *good
	odd.E = 3
	three := *good
	three.Primes = append([]*big.Int{big.NewInt(3)}, good.Primes...)
	uneven := *good
	uneven.Primes = []*big.Int{big.NewInt(3), good.Primes[1]}
	other := *good
	other.Primes = []*big.Int{good.Primes[0], new(big.Int).Xor(good.Primes[1], big.NewInt(2))}
	for name, c := range map[string]struct {
		k    crypto.Signer
		want error
		text string
	}{
		"Ed25519":         {ed, key.ErrUnsupported, "TPMs have no Ed25519"},
		"P-224":           {p224, key.ErrUnsupported, "P-224"},
		"RSA-1024":        {small, key.ErrUnsupported, "1024 bits"},
		"exponent 3":      {&odd, key.ErrUnsupported, "exponent 3"},
		"three primes":    {&three, key.ErrUnsupported, "two primes"},
		"uneven primes":   {&uneven, key.ErrUnsupported, "two primes"},
		"another's prime": {&other, key.ErrUsage, "RSA key"},
	} {
		_, err := tpm.Wrap(t.Context(), parent, c.k, tpm.WrapOptions{Usage: key.SSH})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v; want %v and %q", name, err, c.want, c.text)
		}
	}
	if _, err := tpm.Wrap(t.Context(), parent, ed, tpm.WrapOptions{Usage: key.SSH}); len(hint.Of(err)) == 0 {
		t.Error("Ed25519: no advice")
	}
	soft := softKey(t, key.P256)
	for name, c := range map[string]struct {
		parent *ecdsa.PublicKey
		o      tpm.WrapOptions
		want   error
	}{
		"no parent":          {nil, tpm.WrapOptions{Usage: key.SSH}, key.ErrUsage},
		"parent of P-384":    {&softKey(t, key.P384).(*ecdsa.PrivateKey).PublicKey, tpm.WrapOptions{Usage: key.SSH}, key.ErrUsage},
		"no usage":           {parent, tpm.WrapOptions{}, key.ErrUsage},
		"two lines":          {parent, tpm.WrapOptions{Usage: key.SSH, Description: "a\nb"}, key.ErrUsage},
		"PIN of a host key":  {parent, tpm.WrapOptions{Usage: key.SSHHost, PIN: keytest.Lend([]byte("1"))}, key.ErrUsage},
		"empty PIN":          {parent, tpm.WrapOptions{Usage: key.SSH, PIN: keytest.Lend(nil)}, key.ErrUsage},
		"PIN too long":       {parent, tpm.WrapOptions{Usage: key.SSH, PIN: keytest.Lend(make([]byte, 33))}, key.ErrUsage},
		"PIN ends in a zero": {parent, tpm.WrapOptions{Usage: key.SSH, PIN: keytest.Lend([]byte{1, 0})}, key.ErrUsage},
		"PIN is not lent":    {parent, tpm.WrapOptions{Usage: key.SSH, PIN: nothing}, key.ErrDenied},
	} {
		if _, err := tpm.Wrap(t.Context(), c.parent, soft, c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
	if _, err := tpm.Generate("ed25519"); !errors.Is(err, key.ErrUsage) {
		t.Errorf("generate: %v", err)
	}
}

// nothing is a LendFunc of somebody who has nothing to lend.
func nothing(context.Context, func([]byte) error) error { return nil }

// TestWrappedFileDoesNotTellThePIN: neither the PIN nor its length.
func TestWrappedFileDoesNotTellThePIN(t *testing.T) {
	parent := &softKey(t, key.P256).(*ecdsa.PrivateKey).PublicKey
	soft := softKey(t, key.P256)
	sizes := map[int]bool{}
	for _, pin := range []string{"1", "12345678", strings.Repeat("9", 32)} {
		block, _ := pem.Decode(wrap(t, parent, soft, tpm.WrapOptions{Usage: key.SSH, PIN: keytest.Lend([]byte(pin))}))
		sizes[len(block.Bytes)] = true
		if len(pin) > 1 && bytes.Contains(block.Bytes, []byte(pin)) {
			t.Errorf("PIN %s stands in the file", pin)
		}
	}
	if len(sizes) != 1 {
		t.Errorf("sizes %v tell how long the PIN is", sizes)
	}
}

func TestStorage(t *testing.T) {
	chip := tpmtest.Start(t)
	d := chip.Open()
	s, err := d.Storage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parent, err := tpm.ParseStorage(s.PEM())
	if err != nil {
		t.Fatal(err)
	}
	if name, err := tpm.StorageName(parent); err != nil || name != s.Name {
		t.Errorf("Name %s, %v; the TPM's is %s", name, err, s.Name)
	}
	dir := chip.Options().DataDir
	if devices, err := tpm.DevicesOf(dir, s.Name); err != nil || len(devices) != 1 || devices[0] != chip.Device() {
		t.Errorf("devices %v, %v", devices, err)
	}
	if devices, err := tpm.DevicesOf(dir, strings.Repeat("0", 68)); err != nil || len(devices) != 0 {
		t.Errorf("devices of another key: %v, %v", devices, err)
	}
	if devices, err := tpm.DevicesOf(t.TempDir(), s.Name); err != nil || len(devices) != 0 {
		t.Errorf("devices of no file: %v, %v", devices, err)
	}
}

// TestStorageOfAnotherTPM: what is not the pinned storage key is not given out.
func TestStorageOfAnotherTPM(t *testing.T) {
	chip := tpmtest.Start(t)
	if _, err := chip.Open().Storage(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := tpmtest.Start(t)
	options := other.Options()
	options.DataDir = chip.Options().DataDir
	data, err := tpm.DevicesOf(options.DataDir, "")
	if err != nil || len(data) != 0 {
		t.Fatal(data, err)
	}
	repin(t, options.DataDir, chip.Device(), other.Device())
	d, err := tpm.NewDevice(options)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Storage(t.Context()); !errors.Is(err, key.ErrForeign) {
		t.Errorf("%v; want ErrForeign", err)
	}
}

func TestParseStorage(t *testing.T) {
	block := func(label string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}) }
	good := spki(t, &softKey(t, key.P256).(*ecdsa.PrivateKey).PublicKey)
	if _, err := tpm.ParseStorage(append([]byte("\n"), block("PUBLIC KEY", good)...)); err != nil {
		t.Error(err)
	}
	for name, data := range map[string][]byte{
		"empty":         nil,
		"text":          []byte("hello"),
		"before":        append([]byte("x\n"), block("PUBLIC KEY", good)...),
		"after":         append(block("PUBLIC KEY", good), 'x'),
		"two":           append(block("PUBLIC KEY", good), block("PUBLIC KEY", good)...),
		"label":         block("PRIVATE KEY", good),
		"cut":           block("PUBLIC KEY", good[:len(good)-1]),
		"not the curve": block("PUBLIC KEY", append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1)),
		"P-384":         block("PUBLIC KEY", spki(t, softKey(t, key.P384).Public())),
		"RSA":           block("PUBLIC KEY", spki(t, softKey(t, key.RSA2048).Public())),
		"large":         append(block("PUBLIC KEY", good), make([]byte, 5000)...),
	} {
		if _, err := tpm.ParseStorage(data); !errors.Is(err, key.ErrUsage) || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v; want ErrUsage and advice", name, err)
		}
	}
}
