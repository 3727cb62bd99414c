package agent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/key"
)

// softKey is a private key as x/crypto takes it.
type softKey struct {
	name    string
	private any
	signer  ssh.Signer
	flags   []sshagent.SignatureFlags
}

// softKeys are one key of each kind.
var softKeys = sync.OnceValue(func() (all []softKey) {
	add := func(name string, private crypto.Signer, err error, flags ...sshagent.SignatureFlags) {
		if err != nil {
			panic(err)
		}
		s, err := ssh.NewSignerFromSigner(private)
		if err != nil {
			panic(err)
		}
		all = append(all, softKey{name, private, s, flags})
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	add("ed25519", &ed, err, 0)
	all[0].private = &ed // the client knows this form only
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		add(curve.Params().Name, k, err, 0)
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	add("RSA", k, err, sshagent.SignatureFlagRsaSha256, sshagent.SignatureFlagRsaSha512)
	return all
})

// certify makes a certificate for a key.
func certify(t testing.TB, k ssh.PublicKey, change func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	c := &ssh.Certificate{
		Key: k, CertType: ssh.UserCert, KeyId: "id", ValidPrincipals: []string{"me"},
		ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
	}
	if change != nil {
		change(c)
	}
	if err := c.SignCert(rand.Reader, newHost(t).signer); err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *harness) list(client sshagent.ExtendedAgent) (comments []string) {
	h.t.Helper()
	all, err := client.List()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, k := range all {
		comments = append(comments, k.Comment)
	}
	return comments
}

// TestSoftwareKeys: each kind, with and without a certificate, signs what OpenSSH's
// agent signs.
func TestSoftwareKeys(t *testing.T) {
	h := start(t, nil)
	client, _ := h.dialSSH()
	random := make([]byte, 1024)
	rand.Read(random)
	for _, k := range softKeys() {
		plain := k.signer.PublicKey()
		cert := certify(t, plain, nil)
		for _, added := range []sshagent.AddedKey{
			{PrivateKey: k.private, Comment: k.name},
			{PrivateKey: k.private, Comment: k.name + " certified", Certificate: cert},
		} {
			if err := client.Add(added); err != nil {
				t.Fatalf("%s: %v", added.Comment, err)
			}
			if r := h.lastRecord(); r.Action != "add" || r.Outcome != outcomeDone || !strings.HasPrefix(r.Ref, "software/") || r.Key == "" {
				t.Errorf("audit of an add: %+v", r)
			}
		}
		for _, pub := range []ssh.PublicKey{plain, cert} {
			for _, flags := range k.flags {
				s, err := client.SignWithFlags(pub, random, flags)
				if err != nil {
					t.Errorf("%s, flags %d: %v", pub.Type(), flags, err)
					continue
				}
				if err := plain.Verify(random, s); err != nil || s.Format == ssh.KeyAlgoRSA {
					t.Errorf("%s, flags %d: %s %v", pub.Type(), flags, s.Format, err)
				}
				if r := h.lastRecord(); r.Action != "sign" || r.Outcome != outcomeDone || r.Form != FormUnrecognised || !strings.HasPrefix(r.Ref, "software/") {
					t.Errorf("audit of a signature: %+v", r)
				}
			}
			for _, flags := range []sshagent.SignatureFlags{1, 6, 8} {
				if _, err := client.SignWithFlags(pub, random, flags); err == nil {
					t.Errorf("%s signs with the flags %d", pub.Type(), flags)
				}
			}
		}
	}
	if _, err := client.SignWithFlags(softKeys()[4].signer.PublicKey(), random, 0); err == nil {
		t.Error("RSA signs with SHA-1")
	}
	if _, err := client.SignWithFlags(softKeys()[0].signer.PublicKey(), random, 2); err == nil {
		t.Error("Ed25519 signs with a flag for RSA")
	}
	if got := h.list(client); len(got) != 10 || got[0] != "ed25519" || got[9] != "RSA certified" {
		t.Errorf("listed %q", got)
	}
}

// TestSoftwareKeysAmongOthers: what logs in stands before authorities and hosts, and
// no key is in two places.
func TestSoftwareKeysAmongOthers(t *testing.T) {
	h := start(t, nil)
	h.key(key.Spec{Name: "ca", Usage: key.SSHCA, Unattended: true})
	h.key(key.Spec{Name: "ec", Usage: key.SSH})
	client, _ := h.dialSSH()
	k := softKeys()[0]
	if err := client.Add(sshagent.AddedKey{PrivateKey: k.private, Comment: "soft"}); err != nil {
		t.Fatal(err)
	}
	if got := h.list(client); !slices.Equal(got, []string{"ec", "soft", "ca"}) {
		t.Errorf("listed %q", got)
	}
	if listed, err := h.client().List(t.Context()); err != nil || len(listed) != 2 {
		t.Errorf("the control socket lists %v, %v", listed, err)
	}
	if err := client.RemoveAll(); err != nil {
		t.Error(err)
	}
	if got := h.list(client); !slices.Equal(got, []string{"ec", "ca"}) {
		t.Errorf("after removing all: %q", got)
	}
	if _, err := client.Sign(k.signer.PublicKey(), []byte("x")); err == nil {
		t.Error("a removed key signs")
	}
	h.server.RemoveSoftwareKeys()
}

// TestAddRefused: what is refused leaves nothing behind, and no key for what the
// other messages for tokens say.
func TestAddRefused(t *testing.T) {
	h := start(t, nil)
	conn, err := net.Dial("unix", h.ssh)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ed := newEd25519(t)
	body := addMessage(t, &ed, "k")
	for name, message := range map[string][]byte{
		"unknown constraint":      slices.Concat([]byte{25}, body, []byte{3}),
		"lifetime twice":          slices.Concat([]byte{25}, body, []byte{1, 0, 0, 0, 9, 1, 0, 0, 0, 9}),
		"confirm, then unknown":   slices.Concat([]byte{25}, body, []byte{2, 255}, packed("x@example.org")),
		"constraints without any": slices.Concat([]byte{17}, body, []byte{2}),
		"cut":                     slices.Concat([]byte{17}, body[:len(body)-1]),
		"token":                   append([]byte{20}, packed("/usr/lib/x.so", "1234")...),
		"token with constraints":  append([]byte{26}, packed("/usr/lib/x.so", "1234")...),
		"removal of a token":      append([]byte{21}, packed("/usr/lib/x.so", "1234")...),
	} {
		if got := exchange(t, conn, message); !bytes.Equal(got, []byte{agentFailure}) {
			t.Errorf("%s is answered by %x", name, got)
		}
	}
	client, _ := h.dialSSH()
	if got := h.list(client); len(got) != 0 {
		t.Errorf("the agent holds %q", got)
	}
	if got := exchange(t, conn, append([]byte{25}, body...)); !bytes.Equal(got, []byte{agentSuccess}) {
		t.Errorf("a constrained add without constraints is answered by %x", got)
	}
	// Both messages of ssh-add -D.
	for _, kind := range []byte{19, 9} {
		if got := exchange(t, conn, []byte{kind}); !bytes.Equal(got, []byte{agentSuccess}) {
			t.Errorf("message %d is answered by %x", kind, got)
		}
	}
}

// TestAddAgain: the new constraints take the place of the old ones.
func TestAddAgain(t *testing.T) {
	h := start(t, nil)
	client, _ := h.dialSSH()
	k := softKeys()[0]
	other := softKeys()[1]
	for _, a := range []sshagent.AddedKey{
		{PrivateKey: k.private, Comment: "first", ConfirmBeforeUse: true},
		{PrivateKey: other.private, Comment: "other"},
	} {
		if err := client.Add(a); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Sign(k.signer.PublicKey(), []byte("x")); err == nil {
		t.Error("signed without a yes")
	}
	q := h.person.questions()
	if len(q) != 1 || !strings.HasPrefix(q[0].Title, "Sign with the key software/") ||
		!slices.Contains(q[0].Facts, Fact{"Key comment", "first", true}) ||
		!slices.Contains(q[0].Facts, Fact{"Fingerprint", ssh.FingerprintSHA256(k.signer.PublicKey()), false}) {
		t.Errorf("asked %+v", q)
	}
	if err := client.Add(sshagent.AddedKey{PrivateKey: k.private, Comment: "second"}); err != nil {
		t.Fatal(err)
	}
	if got := h.list(client); !slices.Equal(got, []string{"second", "other"}) {
		t.Errorf("listed %q", got)
	}
	if _, err := client.Sign(k.signer.PublicKey(), []byte("x")); err != nil {
		t.Error(err)
	}
	if len(h.person.questions()) != 0 {
		t.Error("asked all the same")
	}
	if err := client.Remove(k.signer.PublicKey()); err != nil {
		t.Error(err)
	}
	if err := client.Remove(k.signer.PublicKey()); err == nil {
		t.Error("removed twice")
	}
	if got := h.list(client); !slices.Equal(got, []string{"other"}) {
		t.Errorf("listed %q", got)
	}
}

// TestRemovedWhileAsked: a key that goes takes its prompts along.
func TestRemovedWhileAsked(t *testing.T) {
	h := start(t, nil)
	client, _ := h.dialSSH()
	k := softKeys()[0]
	asked := make(chan struct{})
	h.person.confirm = func(ctx context.Context, _ Question) error {
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	}
	if err := client.Add(sshagent.AddedKey{PrivateKey: k.private, ConfirmBeforeUse: true}); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := client.Sign(k.signer.PublicKey(), []byte("x"))
		result <- err
	}()
	<-asked
	other, _ := h.dialSSH()
	if err := other.Remove(k.signer.PublicKey()); err != nil {
		t.Error(err)
	}
	if err := <-result; err == nil {
		t.Error("signed with a key that is gone")
	}
}

func TestSoftwarePolicy(t *testing.T) {
	k := softKeys()[0]
	t.Run("deny", func(t *testing.T) {
		h := start(t, func(c *Config) { c.SoftwareKeys = SoftwareDeny })
		client, _ := h.dialSSH()
		if err := client.Add(sshagent.AddedKey{PrivateKey: k.private}); err == nil {
			t.Error("added")
		}
		if r := h.lastRecord(); r.Action != "add" || r.Outcome != outcomeRefused {
			t.Errorf("audit %+v", r)
		}
	})
	t.Run("confirm", func(t *testing.T) {
		h := start(t, func(c *Config) { c.SoftwareKeys = SoftwareConfirm })
		h.person.confirm = yes
		client, _ := h.dialSSH()
		if err := client.Add(sshagent.AddedKey{PrivateKey: k.private}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Sign(k.signer.PublicKey(), []byte("x")); err != nil || len(h.person.questions()) != 1 {
			t.Errorf("%v", err)
		}
	})
	t.Run("rule", func(t *testing.T) {
		id, err := key.NewID(k.private.(*ed25519.PrivateKey).Public())
		if err != nil {
			t.Fatal(err)
		}
		h := start(t, func(c *Config) { c.Rules = map[key.ID]Rule{id: {Confirm: true}} })
		client, _ := h.dialSSH()
		if err := client.Add(sshagent.AddedKey{PrivateKey: k.private}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Sign(k.signer.PublicKey(), []byte("x")); err == nil {
			t.Error("signed without a yes")
		}
	})
}

// TestDefaultLifetime: ssh-agent -t.
func TestDefaultLifetime(t *testing.T) {
	h := start(t, func(c *Config) { c.DefaultLifetime = time.Hour })
	client, _ := h.dialSSH()
	k := softKeys()[0]
	for _, c := range []struct {
		seconds uint32
		want    time.Duration
	}{{0, time.Hour}, {60, time.Minute}} {
		if err := client.Add(sshagent.AddedKey{PrivateKey: k.private, LifetimeSecs: c.seconds}); err != nil {
			t.Fatal(err)
		}
		if got := h.server.software.find(k.signer.PublicKey().Marshal()).constraints.lifetime; got != c.want {
			t.Errorf("%d seconds: %v, want %v", c.seconds, got, c.want)
		}
	}
}

// dialRaw connects a client that speaks for itself.
func (h *harness) dialRaw() net.Conn {
	h.t.Helper()
	conn, err := net.Dial("unix", h.ssh)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}
