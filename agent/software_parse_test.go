package agent

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// addMessage is the body of a message that adds a key.
func addMessage(t testing.TB, k any, comment string, constraints ...byte) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	go sshagent.NewClient(theirs).Add(sshagent.AddedKey{PrivateKey: k, Comment: comment})
	f, err := newFrameReader(ours, newBudget(1<<20)).next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return append(f.body, constraints...)
}

func packed(parts ...any) (all []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			all = append(binary.BigEndian.AppendUint32(all, uint32(len(p))), p...)
		case string:
			all = append(binary.BigEndian.AppendUint32(all, uint32(len(p))), p...)
		}
	}
	return all
}

func TestParseAddedRefuses(t *testing.T) {
	keys := softKeys()
	ed, other := *keys[0].private.(*ed25519.PrivateKey), newEd25519(t)
	pub := []byte(ed.Public().(ed25519.PublicKey))
	p256 := keys[1].private.(*ecdsa.PrivateKey)
	ec := addMessage(t, p256, "")
	rsaMessage := func(change func(n, e, d, iqmp, p, q *big.Int)) []byte {
		k := keys[4].private.(*rsa.PrivateKey)
		k.Precompute()
		n := []*big.Int{k.N, big.NewInt(int64(k.E)), k.D, k.Precomputed.Qinv, k.Primes[0], k.Primes[1]}
		for i, x := range n {
			n[i] = new(big.Int).Set(x)
		}
		change(n[0], n[1], n[2], n[3], n[4], n[5])
		return ssh.Marshal(struct {
			Type                string
			N, E, D, IQMP, P, Q *big.Int
			Comment             string
		}{"ssh-rsa", n[0], n[1], n[2], n[3], n[4], n[5], ""})
	}
	if _, err := parseAdded(rsaMessage(func(n, e, d, iqmp, p, q *big.Int) {}), false); err != nil {
		t.Fatal(err)
	}
	add := func(x *big.Int, n int64) { x.Add(x, big.NewInt(n)) }
	cert := certify(t, keys[1].signer.PublicKey(), nil)
	for _, c := range []struct {
		name, err string
		body      []byte
	}{
		{"nothing", "parse error", nil},
		{"no type", "not supported", packed("", "", "", "")},
		{"DSA", "not supported", packed("ssh-dss", "", "", "", "", "", "")},
		{"FIDO", "not supported", packed("sk-ssh-ed25519@openssh.com", pub, "ssh:", "", "", "")},
		{"newer than we are", "not supported", packed("ssh-mldsa44-ed25519@openssh.com", pub, pub, "")},
		{"Ed25519, another's public key", "belong together", packed("ssh-ed25519", []byte(other.Public().(ed25519.PublicKey)), []byte(ed), "")},
		{"Ed25519, another public half", "belong together", packed("ssh-ed25519", pub, []byte(slices.Concat(ed[:32], other[32:])), "")},
		{"Ed25519, short", "63 bytes", packed("ssh-ed25519", pub, []byte(ed[:63]), "")},
		{"Ed25519, empty", "0 bytes", packed("ssh-ed25519", "", "", "")},
		{"ECDSA, another curve", "belong together", bytes.Replace(ec, []byte("\x00\x00\x00\x08nistp256"), []byte("\x00\x00\x00\x08nistp384"), 1)},
		{"ECDSA, another type", "belong together", packedECDSA("ecdsa-sha2-nistp384", "nistp384", p256)},
		{"ECDSA, zero", "0 bytes", packed("ecdsa-sha2-nistp256", "nistp256", "x", "", "")},
		{"ECDSA, negative", "negative", packed("ecdsa-sha2-nistp256", "nistp256", "x", "\x80", "")},
		{"ECDSA, as large as the order", "private key", packed("ecdsa-sha2-nistp256", "nistp256", "x", append([]byte{0}, elliptic.P256().Params().N.Bytes()...), "")},
		{"ECDSA, long", "33 bytes", packed("ecdsa-sha2-nistp256", "nistp256", "x", bytes.Repeat([]byte{1}, 33), "")},
		{"RSA, another modulus", "private key", rsaMessage(func(n, e, d, iqmp, p, q *big.Int) { add(n, 2) })},
		{"RSA, even modulus", "", rsaMessage(func(n, e, d, iqmp, p, q *big.Int) { add(n, 1) })},
		{"RSA, another exponent", "private key", rsaMessage(func(n, e, d, iqmp, p, q *big.Int) { add(e, 2) })},
		{"RSA, another private exponent", "private key", rsaMessage(func(n, e, d, iqmp, p, q *big.Int) { add(d, 2) })},
		{"RSA, another prime", "private key", rsaMessage(func(n, e, d, iqmp, p, q *big.Int) { add(p, 2) })},
		{"RSA, prime of zero", "0 bytes", rsaMessage(func(n, e, d, iqmp, p, q *big.Int) { p.SetInt64(0) })},
		{"RSA, prime of one", "private key", rsaMessage(func(n, e, d, iqmp, p, q *big.Int) { q.Set(n); p.SetInt64(1) })},
		{"RSA, negative prime", "negative", rsaMessage(func(n, e, d, iqmp, p, q *big.Int) { p.Neg(p); q.Neg(q) })},
		{"RSA, huge exponent", "exponent", rsaMessage(func(n, e, d, iqmp, p, q *big.Int) { e.Lsh(e, 40) })},
		{"RSA, small", "RSA key of 1024 bits", addMessage(t, weakRSA(t), "")},
		{"certificate for another key", "another key", packed(ssh.CertAlgoED25519v01, certify(t, newHost(t).signer.PublicKey(), nil).Marshal(), pub, []byte(ed), "")},
		{"certificate of another type", "none of the type", packed(ssh.CertAlgoED25519v01, cert.Marshal(), pub, []byte(ed), "")},
		{"certificate that is a key", "none of the type", packed(ssh.CertAlgoED25519v01, keys[0].signer.PublicKey().Marshal(), pub, []byte(ed), "")},
		{"FIDO certificate", "none of the type", packed(ssh.CertAlgoSKED25519v01, cert.Marshal(), pub, []byte(ed), "")},
		{"long comment", "comment of", packed("ssh-ed25519", pub, []byte(ed), strings.Repeat("x", limits.SoftwareComment+1))},
		{"constraint in a message without", "trailing data", append(packed("ssh-ed25519", pub, []byte(ed), ""), constrainConfirm)},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := parseAdded(c.body, false)
			if err == nil || !strings.Contains(err.Error(), c.err) || k != nil {
				t.Errorf("got %v, %v; want %q", k, err, c.err)
			}
		})
	}
	for _, k := range keys {
		whole := addMessage(t, k.private, "comment")
		for i := range whole {
			if _, err := parseAdded(whole[:i], true); err == nil {
				t.Errorf("%s cut to %d of %d bytes is accepted", k.name, i, len(whole))
			}
		}
	}
}

func packedECDSA(kind, curve string, k *ecdsa.PrivateKey) []byte {
	point, err := k.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	scalar, err := k.Bytes()
	if err != nil {
		panic(err)
	}
	return packed(kind, curve, point, append([]byte{0}, scalar...), "")
}

func newEd25519(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func weakRSA(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// FuzzAdd checks that what is accepted signs, and is of the size that we allow.
func FuzzAdd(f *testing.F) {
	for _, k := range softKeys() {
		f.Add(addMessage(f, k.private, "comment", 1, 0, 0, 0, 9, 2))
		cert := certify(f, k.signer.PublicKey(), nil)
		f.Add(packed(cert.Type(), cert.Marshal(), "", ""))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		sent, err := parseAdded(bytes.Clone(body), true)
		if err != nil {
			return
		}
		defer forgetPrivate(sent.private)
		k, err := newSoftwareKey(sent, len(body))
		if err != nil {
			return
		}
		k.private.Wipe()
	})
}
