package tpm

import (
	"encoding/pem"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/key"
)

// TestFilesThatAreNotImported: each is refused before a TPM is asked.
func TestFilesThatAreNotImported(t *testing.T) {
	yes, no := true, false
	area := func(f func(*tpm2.TPMTPublic)) func(*keyFile) {
		return func(k *keyFile) {
			public, err := parsePublic(k.public)
			if err != nil {
				t.Fatal(err)
			}
			f(public)
			k.public = tpm2.Marshal(public)
		}
	}
	attributes := func(f func(*tpm2.TPMAObject)) func(*keyFile) {
		return area(func(p *tpm2.TPMTPublic) { f(&p.ObjectAttributes) })
	}
	importable := func() *keyFile {
		k := sample(t, key.P256)
		k.kind, k.secret = oidImportable, tpm2.Marshal(tpm2.TPM2BEncryptedSecret{Buffer: []byte("seed")})
		attributes(func(a *tpm2.TPMAObject) { a.FixedTPM, a.FixedParent, a.SensitiveDataOrigin = false, false, false })(k)
		return k
	}
	for name, c := range map[string]struct {
		change func(*keyFile)
		want   error
	}{
		"as it is":             {func(*keyFile) {}, nil},
		"persistent parent":    {func(k *keyFile) { k.parent = 0x81000001 }, nil},
		"not the RSA parent":   {func(k *keyFile) { k.rsaParent = &no }, nil},
		"sealed data":          {func(k *keyFile) { k.kind = oidSealed }, key.ErrUnsupported},
		"bound to a TPM":       {attributes(func(a *tpm2.TPMAObject) { a.FixedTPM = true }), key.ErrUnsupported},
		"bound to a parent":    {attributes(func(a *tpm2.TPMAObject) { a.FixedParent = true }), key.ErrUnsupported},
		"inner wrapper":        {attributes(func(a *tpm2.TPMAObject) { a.EncryptedDuplication = true }), key.ErrUnsupported},
		"RSA parent":           {func(k *keyFile) { k.rsaParent = &yes }, nil},
		"parent is no parent":  {func(k *keyFile) { k.parent = 0x80000001 }, key.ErrUnsupported},
		"restricted":           {attributes(func(a *tpm2.TPMAObject) { a.Restricted = true }), key.ErrUnsupported},
		"does not sign":        {attributes(func(a *tpm2.TPMAObject) { a.SignEncrypt = false }), key.ErrUnsupported},
		"policy":               {attributes(func(a *tpm2.TPMAObject) { a.UserWithAuth = false }), key.ErrUnsupported},
		"no seed":              {func(k *keyFile) { k.secret = nil }, key.ErrUsage},
		"seed of another size": {func(k *keyFile) { k.secret = []byte{0, 5, 1} }, key.ErrUsage},
	} {
		file := importable()
		c.change(file)
		data, err := file.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Describe(data); !errors.Is(err, c.want) {
			t.Errorf("%s: %v; want %v", name, err, c.want)
		}
	}
}

// FuzzImport: what is taken from an importable file is a file that is loadable, and
// describes the same key.
func FuzzImport(f *testing.F) {
	for _, k := range []*keyFile{full(f), sample(f, key.P256), sample(f, key.RSA2048)} {
		f.Add(mustEncode(f, k))
		k.kind, k.secret = oidImportable, tpm2.Marshal(tpm2.TPM2BEncryptedSecret{Buffer: []byte("seed")})
		public, err := parsePublic(k.public)
		if err != nil {
			f.Fatal(err)
		}
		public.ObjectAttributes = tpm2.TPMAObject{UserWithAuth: true, SignEncrypt: true}
		k.public = tpm2.Marshal(public)
		f.Add(mustEncode(f, k))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		k, file, err := newcomer(pem.EncodeToMemory(&pem.Block{Type: pemLabel, Bytes: der}))
		if err != nil {
			return
		}
		stored, err := parseKeyDER(mustEncode(t, file.loadable([]byte("private"))))
		if err != nil {
			t.Fatal(err)
		}
		var again storedKey
		if err := again.fill(stored); err != nil || again.unfit != nil || again.info.ID != k.info.ID || again.info.Usage != k.info.Usage {
			t.Fatalf("stored as %+v, %v, %v; want %+v", again.info, err, again.unfit, k.info)
		}
	})
}

// TestLoadableForm: what is stored of an importable key has nothing of the way it
// took, and the file itself stays as it was.
func TestLoadableForm(t *testing.T) {
	file := full(t)
	before := *file
	k := file.loadable([]byte("new"))
	if !k.kind.Equal(oidLoadable) || k.parent != file.parent || string(k.private) != "new" ||
		k.secret != nil || k.description != nil || k.rsaParent != file.rsaParent || k.emptyAuth != file.emptyAuth {
		t.Errorf("%+v", k)
	}
	if file.parent != before.parent || file.description != before.description || !file.kind.Equal(before.kind) {
		t.Errorf("the file was changed: %+v", file)
	}
	file.kind = oidLoadable
	if same := file.loadable([]byte("new")); same != file {
		t.Errorf("a loadable file was changed: %+v", same)
	}
}
