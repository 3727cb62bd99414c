package sshwire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

func publicKey(t testing.TB) ssh.PublicKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ssh.NewPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// certified is the body of a certificate by testKey.
func certified(t testing.TB, change func(*ssh.Certificate)) []byte {
	t.Helper()
	authority, err := ssh.ParsePublicKey(testKey)
	if err != nil {
		t.Fatal(err)
	}
	c := &ssh.Certificate{
		Nonce: make([]byte, 32), Key: publicKey(t), Serial: 7, CertType: ssh.UserCert, KeyId: "id",
		ValidPrincipals: []string{"alice", "bob"}, ValidAfter: 1700000000, ValidBefore: 1700003600,
		Permissions: ssh.Permissions{
			CriticalOptions: map[string]string{"force-command": "true", "verify-required": ""},
			Extensions:      map[string]string{"permit-pty": ""},
		},
		SignatureKey: authority,
	}
	if change != nil {
		change(c)
	}
	return MarshalCertificate(c)
}

// proof is a proof of testKey.
func proof(change func(*HostKeyProof)) []byte {
	p := &HostKeyProof{SessionID: bytes.Repeat([]byte{7}, 32), HostKey: testKey}
	if change != nil {
		change(p)
	}
	return p.Marshal()
}

func TestParseCertificate(t *testing.T) {
	body := certified(t, nil)
	c, err := ParseCertificate(body)
	if err != nil {
		t.Fatal(err)
	}
	if c.KeyId != "id" || len(c.ValidPrincipals) != 2 || c.CriticalOptions["force-command"] != "true" || c.Signature != nil {
		t.Errorf("got %+v", c)
	}
	for i := range body {
		if _, err := ParseCertificate(body[:i]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weakKey, err := ssh.NewPublicKey(weak.Public())
	if err != nil {
		t.Fatal(err)
	}
	many := func(n, size int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[strings.Repeat("x", i+1)] = strings.Repeat("v", size)
		}
		return m
	}
	for _, x := range []struct {
		name, err string
		change    func(*ssh.Certificate)
	}{
		{"neither user nor host", "kind 3", func(c *ssh.Certificate) { c.CertType = 3 }},
		{"short nonce", "nonce of 15 bytes", func(c *ssh.Certificate) { c.Nonce = make([]byte, limits.MinCertNonce-1) }},
		{"long nonce", "nonce of 65 bytes", func(c *ssh.Certificate) { c.Nonce = make([]byte, limits.CertNonce+1) }},
		{"long key id", "key id", func(c *ssh.Certificate) { c.KeyId = strings.Repeat("x", limits.CertKeyID+1) }},
		{"many principals", "257 principals", func(c *ssh.Certificate) {
			c.ValidPrincipals = strings.Split(strings.Repeat("x", limits.CertPrincipals+1), "")
		}},
		{"empty principal", "principal of 0 bytes", func(c *ssh.Certificate) { c.ValidPrincipals = []string{""} }},
		{"long principal", "principal of 256 bytes", func(c *ssh.Certificate) { c.ValidPrincipals = []string{strings.Repeat("x", limits.CertPrincipal+1)} }},
		{"many options", "65 options", func(c *ssh.Certificate) { c.Extensions = many(limits.CertOptions-1, 0) }},
		{"long options", "options of", func(c *ssh.Certificate) { c.Extensions = many(2, limits.CertOptionText/2) }},
		{"reserved field", "reserved field of 1 bytes", func(c *ssh.Certificate) { c.Reserved = []byte("x") }},
		{"weak key", "RSA key of 1024 bits", func(c *ssh.Certificate) { c.Key = weakKey }},
		{"never valid", "never valid", func(c *ssh.Certificate) { c.ValidAfter = c.ValidBefore }},
		{"until no date", "no date", func(c *ssh.Certificate) { c.ValidBefore = limits.CertTime + 1 }},
		{"from no date", "no date", func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = limits.CertTime+1, ssh.CertTimeInfinity }},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := ParseCertificate(certified(t, x.change))
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), x.err) {
				t.Errorf("got %v, want %q", err, x.err)
			}
		})
	}
	// What the encoder cannot make.
	head := len(lengthPrefixed(ssh.CertAlgoECDSA256v01)) + len(lengthPrefixed(string(c.Nonce)))
	tail := body[head+len(c.Key.Marshal())-len(lengthPrefixed(ssh.KeyAlgoECDSA256)):]
	withKey := func(kind string, fields ...[]byte) []byte {
		b := append(lengthPrefixed(kind), lengthPrefixed(string(c.Nonce))...)
		for _, f := range fields {
			b = append(b, lengthPrefixed(string(f))...)
		}
		return append(b, tail...)
	}
	good := withKey(ssh.CertAlgoRSAv01, []byte{1, 0, 1}, append([]byte{0}, bytes.Repeat([]byte{0xff}, 256)...))
	if _, err := ParseCertificate(good); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"a plain key":           publicKey(t).Marshal(),
		"another curve":         bytes.Replace(body, lengthPrefixed(ssh.CertAlgoECDSA256v01), lengthPrefixed(ssh.CertAlgoECDSA384v01), 1),
		"options out of order":  bytes.Replace(body, lengthPrefixed("force-command"), lengthPrefixed("zorce-command"), 1),
		"option with two parts": bytes.Replace(body, lengthPrefixed(string(lengthPrefixed("true"))), lengthPrefixed(string(lengthPrefixed("tru"))+"e"), 1),
		"a DSA key":             withKey("ssh-dss-cert-v01@openssh.com", append([]byte{0}, bytes.Repeat([]byte{0xff}, 128)...), append([]byte{0}, bytes.Repeat([]byte{0xff}, 20)...), []byte{2}, []byte{2}),
		"a padded RSA exponent": withKey(ssh.CertAlgoRSAv01, []byte{0, 1, 0, 1}, append([]byte{0}, bytes.Repeat([]byte{0xff}, 256)...)),
		"a whole certificate":   append(bytes.Clone(body), lengthPrefixed(string(lengthPrefixed("x"))+string(lengthPrefixed("y")))...),
	} {
		if bytes.Equal(bad, body) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := ParseCertificate(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidity(t *testing.T) {
	for _, c := range []struct {
		after, before uint64
		want          string
	}{
		{0, ssh.CertTimeInfinity, "for ever"},
		{0, 1700003600, "until 2023-11-14 23:13:20 (UTC)"},
		{1700000000, 1700003600, "from 2023-11-14 22:13:20 until 2023-11-14 23:13:20 (UTC)"},
		{1700000000, ssh.CertTimeInfinity, "from 2023-11-14 22:13:20 for ever (UTC)"},
		{0, limits.CertTime, "until 9999-12-31 23:59:59 (UTC)"},
		{0, 0, ""},
		{2, 1, ""},
		{0, limits.CertTime + 1, ""},
		{0, ssh.CertTimeInfinity - 1, ""},
		{ssh.CertTimeInfinity, ssh.CertTimeInfinity, ""},
	} {
		got, err := Validity(&ssh.Certificate{ValidAfter: c.after, ValidBefore: c.before})
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%d to %d: %q, %v; want %q", c.after, c.before, got, err, c.want)
		}
	}
}

// TestOpenSSHCertificates reads the body of every kind of certificate that
// ssh-keygen makes.
func TestOpenSSHCertificates(t *testing.T) {
	keygen := testenv.Need(t, testenv.SSHKeygen)
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(keygen, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen %q: %v\n%s", args, err, out)
		}
	}
	run("-q", "-t", "ed25519", "-N", "", "-f", "ca")
	for name, args := range map[string][]string{
		"rsa": {"-t", "rsa", "-b", "2048"}, "p256": {"-t", "ecdsa", "-b", "256"}, "p384": {"-t", "ecdsa", "-b", "384"},
		"p521": {"-t", "ecdsa", "-b", "521"}, "ed25519": {"-t", "ed25519"},
	} {
		run(append(args, "-q", "-N", "", "-f", name)...)
	}
	// Keys that would need a FIDO token to be made; certifying does not.
	for name, parts := range map[string][]string{
		"sk-ecdsa":   {ssh.KeyAlgoSKECDSA256, "nistp256", string(uncompressed(t)), "ssh:"},
		"sk-ed25519": {ssh.KeyAlgoSKED25519, strings.Repeat("k", 32), "ssh:"},
	} {
		var blob []byte
		for _, p := range parts {
			blob = append(blob, lengthPrefixed(p)...)
		}
		line := parts[0] + " " + base64.StdEncoding.EncodeToString(blob) + "\n"
		if err := os.WriteFile(filepath.Join(dir, name+".pub"), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := testenv.Glob(t, filepath.Join(dir, "*.pub"))
	seen := map[string]bool{}
	for _, kind := range [][]string{
		{"-n", "alice,bob", "-V", "-5m:+1d", "-z", "18446744073709551615"},
		{"-n", "alice", "-V", "always:forever", "-O", "force-command=/bin/true", "-O", "source-address=10.0.0.0/8", "-O", "extension:login@example.org=alice", "-O", "critical:x@example.org"},
		{"-h", "-n", "host.example.org,*.example.org", "-V", "20300101:20310101"},
	} {
		for _, pub := range keys {
			run(append([]string{"-q", "-s", "ca", "-I", "an id"}, append(kind, pub)...)...)
			text, err := os.ReadFile(strings.TrimSuffix(pub, ".pub") + "-cert.pub")
			if err != nil {
				t.Fatal(err)
			}
			k, _, _, _, err := ssh.ParseAuthorizedKey(text)
			if err != nil {
				t.Fatal(err)
			}
			whole, signature := k.Marshal(), k.(*ssh.Certificate).Signature
			body := whole[:len(whole)-len(lengthPrefixed(string(ssh.Marshal(signature))))]
			c, err := ParseCertificate(body)
			if err != nil {
				t.Errorf("%s %q: %v", pub, kind, err)
				continue
			}
			if err := c.SignatureKey.Verify(body, signature); err != nil {
				t.Errorf("%s %q: this is not what ssh-keygen signed: %v", pub, kind, err)
			}
			seen[c.Type()] = true
		}
	}
	if len(seen) != len(certificateTypes) {
		t.Errorf("only %v of %v", seen, certificateTypes)
	}
}

// uncompressed is a point on P-256.
func uncompressed(t *testing.T) []byte {
	blob := publicKey(t).Marshal()
	return blob[len(blob)-65:]
}

// FuzzParseCertificate checks that an accepted body re-encodes to itself, that its
// validity can be said, and that it is taken for a certificate.
func FuzzParseCertificate(f *testing.F) {
	f.Add(certified(f, nil))
	f.Add(certified(f, func(c *ssh.Certificate) { c.CertType, c.ValidPrincipals, c.Extensions = ssh.HostCert, nil, nil }))
	f.Add(append(certified(f, nil), 0))
	f.Add(lengthPrefixed(ssh.CertAlgoED25519v01))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCertificate(data)
		if err != nil {
			return
		}
		if again := MarshalCertificate(c); !bytes.Equal(again, data) {
			t.Fatalf("accepted %x, re-encoded %x", data, again)
		}
		if _, err := Validity(c); err != nil {
			t.Fatalf("accepted %x: %v", data, err)
		}
		if shape, _ := Resembles(data); shape != ShapeCertificate {
			t.Fatalf("%x resembles %q", data, shape)
		}
	})
}
