package sshwire

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// privateKeys are keys of the kinds that people have.
func privateKeys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	keys := map[string]crypto.Signer{}
	for name, curve := range map[string]elliptic.Curve{"p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = k
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	keys["rsa"] = k
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys["ed25519"] = ed
	return keys
}

// encodings are a key in every form that it has.
func encodings(t testing.TB, k crypto.Signer) map[string][]byte {
	t.Helper()
	forms := map[string][]byte{}
	add := func(name, label string, der []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		forms[name] = pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	add("PKCS #8", "PRIVATE KEY", der, err)
	switch k := k.(type) {
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		add("SEC 1", "EC PRIVATE KEY", der, err)
	case *rsa.PrivateKey:
		add("PKCS #1", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k), nil)
	}
	block, err := ssh.MarshalPrivateKey(k, "me@here")
	if err != nil {
		t.Fatal(err)
	}
	forms["OpenSSH"] = pem.EncodeToMemory(block)
	return forms
}

func samePublic(t *testing.T, name string, got, want crypto.Signer) {
	t.Helper()
	if got == nil || !want.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(got.Public()) {
		t.Errorf("%s: another key", name)
	}
}

func TestPrivateKey(t *testing.T) {
	for kind, k := range privateKeys(t) {
		for form, data := range encodings(t, k) {
			got, err := PrivateKey(data, nil)
			if err != nil {
				t.Errorf("%s, %s: %v", kind, form, err)
				continue
			}
			samePublic(t, kind+", "+form, got, k)
		}
	}
}

func TestPrivateKeyAmongOtherThings(t *testing.T) {
	k := privateKeys(t)["p256"]
	forms := encodings(t, k)
	parameters := "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
	got, err := PrivateKey([]byte("text\n"+parameters+string(forms["SEC 1"])+"more\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	samePublic(t, "with parameters", got, k)
	for name, c := range map[string]struct{ data, want string }{
		"nothing":    {"", "no private key"},
		"two keys":   {string(forms["SEC 1"]) + string(forms["PKCS #8"]), "more than one"},
		"public key": {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no private key"},
		"no type":    {strings.ReplaceAll(string(forms["SEC 1"]), "EC PRIVATE", "OTHER PRIVATE"), "unsupported"},
		"TSS2":       {strings.ReplaceAll(string(forms["SEC 1"]), "EC PRIVATE", "TSS2 PRIVATE"), "unsupported"},
		"noise":      {"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "private key"},
	} {
		if _, err := PrivateKey([]byte(c.data), nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(exchange)
	if err != nil {
		t.Fatal(err)
	}
	dsaKey, err := asn1.Marshal(struct{ Version, P, Q, G, Pub, Priv *big.Int }{
		new(big.Int), big.NewInt(23), big.NewInt(11), big.NewInt(4), big.NewInt(8), big.NewInt(7),
	})
	if err != nil {
		t.Fatal(err)
	}
	for label, der := range map[string][]byte{"PRIVATE KEY": der, "DSA PRIVATE KEY": dsaKey} {
		_, err := PrivateKey(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}), nil)
		if err == nil || !strings.Contains(err.Error(), "does not sign") {
			t.Errorf("%s: %v", label, err)
		}
	}
}

// TestPrivateKeyOfAnother: a file with the private half of one key and the public
// half of another is damaged, whatever form it has.
func TestPrivateKeyOfAnother(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		scalar, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for form, data := range encodings(t, k) {
			if _, err := PrivateKey(data, nil); err != nil {
				t.Fatalf("%s: %v", form, err)
			}
			block, _ := pem.Decode(data)
			scalar = bytes.TrimLeft(scalar, "\x00") // as OpenSSH's form has it
			at := bytes.Index(block.Bytes, scalar)
			if at < 0 {
				t.Fatalf("%s: the private key is not in it", form)
			}
			block.Bytes[at+len(scalar)-1] ^= 2
			if got, err := PrivateKey(pem.EncodeToMemory(block), nil); err == nil {
				t.Errorf("%s: accepted, with the public key %v", form, got.Public())
			}
			if strings.HasPrefix(block.Type, "OPENSSH") {
				continue
			}
			//lint:ignore SA1019 keys of this form exist.
			locked, err := x509.EncryptPEMBlock(rand.Reader, block.Type, block.Bytes, []byte("open"), x509.PEMCipherAES256)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := PrivateKey(pem.EncodeToMemory(locked), []byte("open")); err == nil {
				t.Errorf("%s: accepted with a passphrase", form)
			}
		}
	}
}

// TestPublicHalves: OpenSSL leaves the public key out if it is told to, or writes it
// in its short form.
func TestPublicHalves(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	short := elliptic.MarshalCompressed(k.Curve, k.X, k.Y)
	for name, public := range map[string][]byte{"none": nil, "short": short} {
		der, err := asn1.Marshal(sec1{
			Version: 1, PrivateKey: scalar, Curve: asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7},
			Public: asn1.BitString{Bytes: public, BitLength: 8 * len(public)},
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := PrivateKey(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil)
		if err != nil || !k.PublicKey.Equal(got.Public()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPrivateKeyWithPassphrase(t *testing.T) {
	k := privateKeys(t)["p384"]
	block, err := ssh.MarshalPrivateKeyWithPassphrase(k, "me@here", []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := pem.Decode(encodings(t, k)["SEC 1"])
	//lint:ignore SA1019 keys of this form exist.
	old, err := x509.EncryptPEMBlock(rand.Reader, plain.Type, plain.Bytes, []byte("open sesame"), x509.PEMCipherAES128)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"OpenSSH": pem.EncodeToMemory(block), "old PEM": pem.EncodeToMemory(old)} {
		before := bytes.Clone(data)
		if _, err := PrivateKey(data, nil); !errors.Is(err, ErrPassphrase) {
			t.Errorf("%s without: %v", name, err)
		}
		if _, err := PrivateKey(data, []byte("open barley")); !errors.Is(err, ErrWrongPassphrase) {
			t.Errorf("%s with a wrong one: %v", name, err)
		}
		got, err := PrivateKey(data, []byte("open sesame"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		samePublic(t, name, got, k)
		if !bytes.Equal(data, before) {
			t.Errorf("%s: the caller's file was changed", name)
		}
	}
	for range 1000 { // of 256 noises, one has the padding of a key
		if _, err := PrivateKey(pem.EncodeToMemory(old), []byte(rand.Text())); !errors.Is(err, ErrWrongPassphrase) {
			t.Fatalf("old PEM with a wrong one: %v", err)
		}
	}
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	if _, err := PrivateKey(encrypted, []byte("open sesame")); err == nil || !strings.Contains(strings.Join(hint.Of(err), ""), "openssl pkey") {
		t.Errorf("encrypted PKCS #8: %v, %q", err, hint.Of(err))
	}
}

// TestPrivateKeysOfSSHKeygen reads what OpenSSH writes.
func TestPrivateKeysOfSSHKeygen(t *testing.T) {
	keygen := testenv.Need(t, testenv.SSHKeygen)
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"new":       {"-t", "ecdsa", "-b", "521", "-N", ""},
		"encrypted": {"-t", "ecdsa", "-N", "open sesame"},
		"pem":       {"-t", "ecdsa", "-b", "384", "-m", "PEM", "-N", ""},
		"pkcs8":     {"-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", ""},
		"old":       {"-t", "ecdsa", "-m", "PEM", "-N", "open sesame"},
	} {
		path := filepath.Join(dir, name)
		if out, err := exec.Command(keygen, append(args, "-q", "-C", "", "-f", path)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		k, err := PrivateKey(data, nil)
		if encrypted := args[len(args)-1] != ""; encrypted {
			if !errors.Is(err, ErrPassphrase) {
				t.Errorf("%s: %v", name, err)
			}
			k, err = PrivateKey(data, []byte("open sesame"))
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		line, err := AuthorizedKey(k.Public(), "")
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(path + ".pub")
		if err != nil || strings.TrimSpace(string(line)) != strings.TrimSpace(string(want)) {
			t.Errorf("%s: %q, want %q (%v)", name, line, want, err)
		}
	}
}

// FuzzPrivateKey: what is accepted is a key that has a public part and can be
// encoded.
func FuzzPrivateKey(f *testing.F) {
	for _, k := range privateKeys(f) {
		for _, data := range encodings(f, k) {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 16<<10 {
			return
		}
		k, err := PrivateKey(data, nil)
		if err != nil {
			return
		}
		if _, err := x509.MarshalPKIXPublicKey(k.Public()); err != nil {
			t.Fatal(err)
		}
	})
}
