package sshsig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSignedDataRefuses(t *testing.T) {
	digest := make([]byte, 64)
	for _, c := range []struct {
		name, namespace, hash string
		digest                []byte
	}{
		{"no namespace", "", "sha512", digest},
		{"namespace too long", strings.Repeat("n", 256), "sha512", digest},
		{"control character", "a\nb", "sha512", digest},
		{"not ASCII", "é", "sha512", digest},
		{"SHA-1", "file", "sha1", digest[:20]},
		{"unknown hash", "file", "SHA512", digest},
		{"short digest", "file", "sha512", digest[:63]},
		{"digest of the other hash", "file", "sha256", digest},
	} {
		t.Run(c.name, func(t *testing.T) {
			if b, err := SignedData(c.namespace, c.hash, c.digest); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%x, %v", b, err)
			}
			b := ssh.Marshal(signedData{Magic: [6]byte([]byte(magic)), Namespace: c.namespace, Hash: c.hash, Digest: c.digest})
			if m, err := ParseSignedData(b); !errors.Is(err, ErrMalformed) {
				t.Fatalf("parsed as %+v, %v", m, err)
			}
		})
	}
}

// fields is a signature with every field in the attacker's hand.
func fields(s *Signature) wireSignature {
	return wireSignature{
		Magic: [6]byte([]byte(magic)), Version: 1, PublicKey: s.key.Marshal(),
		Namespace: s.Namespace, Hash: s.Hash, Signature: ssh.Marshal(s.signature),
	}
}

func TestParseRefuses(t *testing.T) {
	good := fields(sign(t, newSigner(t)))
	if _, err := Parse(ssh.Marshal(good)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*wireSignature){
		"magic":            func(b *wireSignature) { b.Magic[0] = 's' },
		"version 0":        func(b *wireSignature) { b.Version = 0 },
		"version 2":        func(b *wireSignature) { b.Version = 2 },
		"reserved":         func(b *wireSignature) { b.Reserved = "x" },
		"no namespace":     func(b *wireSignature) { b.Namespace = "" },
		"NUL in namespace": func(b *wireSignature) { b.Namespace = "file\x00git" },
		"hash":             func(b *wireSignature) { b.Hash = "sha1" },
		"no key":           func(b *wireSignature) { b.PublicKey = nil },
		"junk behind key":  func(b *wireSignature) { b.PublicKey = append(bytes.Clone(b.PublicKey), 0) },
		"no signature":     func(b *wireSignature) { b.Signature = nil },
		"junk behind sig":  func(b *wireSignature) { b.Signature = append(bytes.Clone(b.Signature), 0) },
		"other algorithm": func(b *wireSignature) {
			b.Signature = ssh.Marshal(ssh.Signature{Format: ssh.KeyAlgoECDSA384, Blob: []byte{0}})
		},
		"padded integers":  func(b *wireSignature) { b.Signature = padded(t, b.Signature) },
		"compressed point": func(b *wireSignature) { b.PublicKey = compressed(t, b.PublicKey) },
		"junk in signature": func(b *wireSignature) {
			b.Signature = ssh.Marshal(ssh.Signature{Format: ssh.KeyAlgoECDSA256, Blob: []byte{0}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := good
			change(&b)
			if s, err := Parse(ssh.Marshal(b)); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrKey) {
				t.Fatalf("%+v, %v", s, err)
			}
		})
	}
	t.Run("trailing byte", func(t *testing.T) {
		if _, err := Parse(append(ssh.Marshal(good), 0)); !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
	t.Run("too long", func(t *testing.T) {
		b := good
		b.Signature = make([]byte, 16<<10)
		if _, err := Parse(ssh.Marshal(b)); !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
}

// padded gives the integers of an ECDSA signature a leading zero too many.
func padded(t *testing.T, signature []byte) []byte {
	var s ssh.Signature
	var rs struct{ R, S *big.Int }
	if err := errors.Join(ssh.Unmarshal(signature, &s), ssh.Unmarshal(s.Blob, &rs)); err != nil {
		t.Fatal(err)
	}
	s.Blob = ssh.Marshal(struct{ R, S []byte }{append([]byte{0, 0}, rs.R.Bytes()...), append([]byte{0, 0}, rs.S.Bytes()...)})
	return ssh.Marshal(s)
}

func compressed(t *testing.T, key []byte) []byte {
	var w struct {
		Type, Curve string
		Point       []byte
	}
	if err := ssh.Unmarshal(key, &w); err != nil {
		t.Fatal(err)
	}
	w.Point = append([]byte{2 + w.Point[64]&1}, w.Point[1:33]...)
	return ssh.Marshal(w)
}

func TestKeysThatDoNotCount(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	smallKey, err := ssh.NewPublicKey(&small.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := newSigner(t)
	cert := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		keyType string
		blob    []byte
		want    string
	}{
		"short RSA":   {"ssh-rsa", smallKey.Marshal(), "RSA key of 1024 bits"},
		"FIDO":        {ssh.KeyAlgoSKED25519, ssh.Marshal(struct{ T, K, A string }{ssh.KeyAlgoSKED25519, string(ed), "ssh:"}), "FIDO"},
		"certificate": {cert.Type(), cert.Marshal(), "certificates"},
		"wrong type":  {"ssh-ed25519", signer.PublicKey().Marshal(), "holds a key of type"},
		"empty":       {"ssh-ed25519", nil, "unusable"},
	} {
		t.Run(name, func(t *testing.T) {
			line := c.keyType + " " + base64.StdEncoding.EncodeToString(c.blob)
			_, err := ParsePublicKeys([]byte(line))
			if !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "line 1: ") {
				t.Errorf("public key file: %v", err)
			}
			if _, err := ParseAllowedSigners([]byte("me " + line)); !errors.Is(err, ErrKey) {
				t.Errorf("allowed signers: %v", err)
			}
		})
	}
}

// TestRSAWithSHA1 checks that the one SSH signature algorithm with SHA-1 is
// refused even with a key that counts.
func TestRSAWithSHA1(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha512.Sum512(message)
	data, err := SignedData(namespace, "sha512", digest[:])
	if err != nil {
		t.Fatal(err)
	}
	raw, err := signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, data, ssh.KeyAlgoRSA)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(&k.PublicKey, namespace, "sha512", ssh.Marshal(raw)); !errors.Is(err, ErrMalformed) {
		t.Fatalf("SHA-1 signature: %v", err)
	}
	good := sign(t, signer)
	good.signature.Blob = good.signature.Blob[1:]
	if _, err := Parse(good.Marshal()); !errors.Is(err, ErrMalformed) {
		t.Fatalf("signature shorter than the modulus: %v", err)
	}
}

func TestParseArmoredRefuses(t *testing.T) {
	good := string(sign(t, newSigner(t)).Armor())
	if _, err := ParseArmored([]byte(strings.TrimSuffix(good, "\n"))); err != nil {
		t.Fatalf("without the last line end: %v", err)
	}
	for _, width := range []int{1, 64, 76, 4096} {
		if _, err := ParseArmored(sign(t, newSigner(t)).armor(width)); err != nil {
			t.Errorf("lines of %d characters: %v", width, err)
		}
	}
	body := strings.TrimPrefix(good, begin)
	for name, text := range map[string]string{
		"empty":            "",
		"no header":        strings.TrimPrefix(good, begin),
		"no footer":        strings.TrimSuffix(good, end+"\n"),
		"text before":      "\n" + good,
		"text behind":      good + "\n",
		"two signatures":   good + good,
		"CRLF":             strings.ReplaceAll(good, "\n", "\r\n"),
		"blank":            strings.Replace(good, "AAAA", "AA AA", 1),
		"carriage return":  begin + body[:keygenWidth] + "\r" + body[keygenWidth:],
		"empty line":       begin + body[:keygenWidth] + "\n" + body[keygenWidth:],
		"empty line first": begin + "\n" + body,
		"long line":        begin + strings.Replace(body[:200], "\n", "", 1) + body[200:],
		"short line":       begin + body[:100] + "\n" + body[100:],
		"no body":          begin + end,
		"empty body":       begin + "\n" + end,
		"PEM header":       strings.Replace(good, begin, begin+"Comment: x\n\n", 1),
		"too long":         begin + strings.Repeat("\n", 16<<10) + strings.TrimPrefix(good, begin),
	} {
		if _, err := ParseArmored([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBitFlips flips every bit of a signature file, of its blob and of an
// allowed signers file: nothing but a change that means the same is accepted.
func TestBitFlips(t *testing.T) {
	signer := newSigner(t)
	s := sign(t, signer)
	digest := sha512.Sum512(message)
	allowed := append([]byte("me "), ssh.MarshalAuthorizedKey(signer.PublicKey())...)
	accepted := func(s *Signature, err error) bool {
		return err == nil && s.Namespace == namespace && s.Verify(digest[:]) == nil &&
			bytes.Equal(s.key.Marshal(), signer.PublicKey().Marshal())
	}
	if !accepted(Parse(s.Marshal())) {
		t.Fatal("the unchanged signature is refused")
	}
	flips(s.Marshal(), func(b []byte) {
		if accepted(Parse(b)) {
			t.Fatalf("accepted %x", b)
		}
	})
	flips(s.Armor(), func(b []byte) {
		if accepted(ParseArmored(b)) {
			t.Fatalf("accepted %s", b)
		}
	})
	flips(allowed, func(b []byte) {
		a, err := ParseAllowedSigners(b)
		if err != nil || a.Check(s.PublicKey(), "me", namespace, testTime) != nil {
			return
		}
		if !bytes.Equal(a.entries[0].key.Marshal(), signer.PublicKey().Marshal()) {
			t.Fatalf("accepted %s", b)
		}
	})
	for i := range digest {
		digest[i] ^= 1
		if s.Verify(digest[:]) == nil {
			t.Fatalf("accepted the digest with byte %d changed", i)
		}
		digest[i] ^= 1
	}
}

// flips calls f with b, one bit changed, for every bit.
func flips(b []byte, f func([]byte)) {
	for i := range 8 * len(b) {
		c := bytes.Clone(b)
		c[i/8] ^= 1 << (i % 8)
		f(c)
	}
}
