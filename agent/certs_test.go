package agent

import (
	"bytes"
	"context"
	"iter"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// certified is a backend whose keys have certificates beside them.
type certified struct {
	*keytest.Backend
	certificate func(in key.Info) *ssh.Certificate
}

type certifiedKey struct {
	key.Signer
	certificate string
}

// Info implements [key.Signer].
func (k certifiedKey) Info() key.Info {
	in := k.Signer.Info()
	in.Certificate = k.certificate
	return in
}

// Keys implements [key.Backend].
func (b certified) Keys(ctx context.Context) iter.Seq2[key.Signer, error] {
	return func(yield func(key.Signer, error) bool) {
		for s, err := range b.Backend.Keys(ctx) {
			if !yield(certifiedKey{s, string(b.certificate(s.Info()).Marshal())}, err) {
				return
			}
		}
	}
}

// TestCertificateBesideKey: it is an identity of its own, by which the key signs what
// it signs anyway.
func TestCertificateBesideKey(t *testing.T) {
	h := start(t, nil)
	before := uint64(time.Now().Add(time.Hour).Unix())
	h.server.config.Keys = key.NewRing(certified{h.backend, func(in key.Info) *ssh.Certificate {
		return certify(t, sshKey(t, in), func(c *ssh.Certificate) { c.ValidBefore = before })
	}})
	ec := h.key(key.Spec{Name: "ec", Usage: key.SSH})
	h.key(key.Spec{Name: "release", Usage: key.Artifact})
	client, _ := h.dialSSH()
	listed, err := client.List()
	if err != nil || len(listed) != 2 || listed[0].Format != ssh.KeyAlgoECDSA256 || listed[1].Format != ssh.CertAlgoECDSA256v01 || listed[1].Comment != "ec" {
		t.Fatalf("listed %v, %v", listed, err)
	}
	before = uint64(time.Now().Unix()) // now
	if got := h.list(client); len(got) != 1 {
		t.Errorf("after the certificate's time: %q", got)
	}
	for _, in := range []key.Info{ec, h.key(key.Spec{Name: "rsa", Usage: key.SSH, Algorithm: key.RSA2048})} {
		cert := certify(t, sshKey(t, in), nil)
		algorithm, flags := ssh.KeyAlgoECDSA256, uint32(0)
		if in.Algorithm.RSA() {
			algorithm, flags = ssh.KeyAlgoRSASHA512, flagSHA512
		}
		login := func(blob []byte, algorithm string) []byte {
			return (&sshwire.UserAuth{SessionID: []byte("s"), User: "me", Algorithm: algorithm, Key: blob}).Marshal()
		}
		blob := cert.Marshal()
		good := login(blob, algorithm+certificateMark)
		s, err := (&sshConn{Server: h.server, conn: &conn{}}).signData(t.Context(), signRequest{blob, good, flags})
		if err != nil {
			t.Fatal(err)
		}
		var signature ssh.Signature
		if err := ssh.Unmarshal(s, &signature); err != nil || signature.Format != algorithm {
			t.Errorf("signature %v, %v", signature, err)
		}
		if err := cert.Verify(good, &signature); err != nil {
			t.Error(err)
		}
		for name, m := range map[string]signRequest{
			"the key's own login":       {blob, login(sshKey(t, in).Marshal(), algorithm), flags},
			"without its mark":          {blob, login(blob, algorithm), flags},
			"by the plain key":          {sshKey(t, in).Marshal(), good, flags},
			"certificate of a stranger": {certify(t, softKeys()[1].signer.PublicKey(), nil).Marshal(), good, flags},
			"cut":                       {blob[:len(blob)-1], good, flags},
			"random data":               {blob, bytes.Repeat([]byte("x"), 1024), flags},
		} {
			if _, err := (&sshConn{Server: h.server, conn: &conn{}}).signData(t.Context(), m); err == nil {
				t.Errorf("%s: signed", name)
			}
		}
	}
}

// TestHostCertificate: sshd asks by its host certificate when a session is keyed anew.
func TestHostCertificate(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "host", Usage: key.SSHHost})
	cert := certify(t, sshKey(t, in), func(c *ssh.Certificate) { c.CertType = ssh.HostCert })
	client, _ := h.dialSSH()
	hash := bytes.Repeat([]byte{7}, 32)
	s, err := client.Sign(cert, hash)
	if err != nil {
		t.Fatal(err)
	}
	if err := sshKey(t, in).Verify(hash, s); err != nil {
		t.Error(err)
	}
	if _, err := client.Extension(extensionBind, []byte("x")); err == nil {
		t.Fatal("bound")
	}
	if _, err := client.Sign(cert, hash); err == nil {
		t.Error("signed where a client tried to bind")
	}
}

// TestHardwareKeyIsNotAdded: its software copy would be a way around its rules.
func TestHardwareKeyIsNotAdded(t *testing.T) {
	h := start(t, nil)
	k := softKeys()[1]
	h.server.config.Keys = key.NewRing(&oneKey{h.backend, k})
	message := addMessage(t, k.private, "copy")
	conn := h.dialRaw()
	if got := exchange(t, conn, append([]byte{agentAddIdentity}, message...)); got[0] != agentFailure {
		t.Errorf("answered by %x", got)
	}
	if r := h.lastRecord(); r.Action != "add" || r.Outcome != outcomeRefused {
		t.Errorf("audit %+v", r)
	}
	if got := h.server.software.list(); len(got) != 0 {
		t.Errorf("the agent holds %v", got)
	}
}

// oneKey is a backend with a key that people have a copy of.
type oneKey struct {
	*keytest.Backend
	soft softKey
}

type heldSigner struct {
	key.Signer
	in key.Info
}

// Info implements [key.Signer].
func (s heldSigner) Info() key.Info { return s.in }

// Keys implements [key.Backend].
func (b *oneKey) Keys(context.Context) iter.Seq2[key.Signer, error] {
	pub := b.soft.signer.PublicKey().(ssh.CryptoPublicKey).CryptoPublicKey()
	id, err := key.NewID(pub)
	in := key.Info{ID: id, Ref: key.Ref{Backend: "tpm", Name: "k"}, Usage: key.SSH, Public: pub}
	return func(yield func(key.Signer, error) bool) { yield(heldSigner{in: in}, err) }
}
