package agent

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"
	"golang.org/x/sync/semaphore"

	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// host is a server's host key.
type host struct {
	signer ssh.Signer
	blob   []byte
}

func newHost(t testing.TB) host {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return host{s, s.PublicKey().Marshal()}
}

// certified is the host with a certificate of some CA.
func (h host) certified(t testing.TB) host {
	t.Helper()
	c := &ssh.Certificate{Key: h.signer.PublicKey(), CertType: ssh.HostCert, ValidBefore: uint64(time.Now().Add(time.Hour).Unix())}
	if err := c.SignCert(rand.Reader, newHost(t).signer); err != nil {
		t.Fatal(err)
	}
	return host{h.signer, c.Marshal()}
}

// bind is the contents of a session-bind message.
func (h host) bind(t testing.TB, sessionID []byte, forwarding bool) []byte {
	t.Helper()
	s, err := h.signer.Sign(rand.Reader, sessionID)
	if err != nil {
		t.Fatal(err)
	}
	return bindMessage(h.blob, sessionID, ssh.Marshal(s), forwarding)
}

func bindMessage(hostKey, sessionID, signature []byte, forwarding bool) []byte {
	return ssh.Marshal(struct {
		HostKey, SessionID, Signature []byte
		Forwarding                    bool
	}{hostKey, sessionID, signature, forwarding})
}

func TestBindings(t *testing.T) {
	h, other := newHost(t), newHost(t)
	certified := h.certified(t)
	huge := hostCertificate(t, h, other, func(c *ssh.Certificate) { c.ValidPrincipals = []string{strings.Repeat("x", 8<<10)} })
	one, two := []byte("session one"), []byte("session two")
	rsaHost := func() host {
		k, err := ssh.NewSignerFromKey(rsaKey(t))
		if err != nil {
			t.Fatal(err)
		}
		return host{k, k.PublicKey().Marshal()}
	}()
	full := make([][]byte, 16)
	for i := range full {
		full[i] = h.bind(t, []byte{byte(i)}, true)
	}
	good := h.bind(t, one, false)
	tampered := bytes.Clone(good)
	tampered[len(tampered)-6] ^= 1 // inside the signature
	for _, c := range []struct {
		name    string
		before  [][]byte
		message []byte
		err     string // empty: accepted
		entries int
	}{
		{"login", nil, good, "", 1},
		{"forwarding", nil, h.bind(t, one, true), "", 1},
		{"certificate", nil, certified.bind(t, one, false), "", 1},
		{"second hop", [][]byte{h.bind(t, one, true)}, other.bind(t, two, false), "", 2},
		{"the same again", [][]byte{h.bind(t, one, true)}, h.bind(t, one, true), "", 1},
		{"after a login", [][]byte{good}, h.bind(t, two, false), "already serves a login", 1},
		{"the same login again", [][]byte{good}, good, "already serves a login", 1},
		{"session of another host", [][]byte{h.bind(t, one, true)}, other.bind(t, one, false), "another host key", 1},
		{"too many", full, h.bind(t, one, true), "too many hops", 16},
		{"signature over another session", nil, bindMessage(h.blob, two, mustSign(t, h, one), false), "session-bind", 0},
		{"signature by another host", nil, bindMessage(h.blob, one, mustSign(t, other, one), false), "session-bind", 0},
		{"tampered", nil, tampered, "session-bind", 0},
		{"no session id", nil, h.bind(t, nil, false), "session id of 0 bytes", 0},
		{"long session id", nil, h.bind(t, make([]byte, 129), false), "session id of 129 bytes", 0},
		{"host key unreadable", nil, bindMessage([]byte("x"), one, mustSign(t, h, one), false), "host key", 0},
		{"huge certificate", nil, huge.bind(t, one, false), "host key of ", 0},
		{"SHA-1", nil, bindMessage(rsaHost.blob, one, mustSignSHA1(t, rsaHost, one), false), "SHA-1", 0},
		{"trailing data", nil, append(bytes.Clone(good), 0), "session-bind", 0},
		{"empty", nil, nil, "session-bind", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bindings
			for _, m := range c.before {
				if err := b.add(m); err != nil {
					t.Fatal(err)
				}
			}
			err := b.add(c.message)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			if len(b) != c.entries {
				t.Errorf("%d entries, want %d", len(b), c.entries)
			}
		})
	}
}

// TestBindingsKeepNoMessage: its memory is counted only until it is answered.
func TestBindingsKeepNoMessage(t *testing.T) {
	h, id := newHost(t), []byte("session")
	message := h.bind(t, id, true)
	var b bindings
	if err := b.add(message); err != nil {
		t.Fatal(err)
	}
	clear(message)
	if !bytes.Equal(b[0].hostKey, h.blob) || !bytes.Equal(b[0].sessionID, id) {
		t.Error("the message's memory is held")
	}
}

func mustSign(t testing.TB, h host, data []byte) []byte {
	t.Helper()
	s, err := h.signer.Sign(rand.Reader, data)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.Marshal(s)
}

func mustSignSHA1(t testing.TB, h host, data []byte) []byte {
	t.Helper()
	s, err := h.signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, data, ssh.KeyAlgoRSA)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.Marshal(s)
}

func TestBindingsCheck(t *testing.T) {
	a, b := []byte("host a"), []byte("host b")
	one, two := []byte("one"), []byte("two")
	for _, c := range []struct {
		name  string
		binds bindings
		login sshwire.UserAuth
		err   string
	}{
		{"never bound", nil, sshwire.UserAuth{SessionID: one}, ""},
		{"same session", bindings{{a, one, false, nil}}, sshwire.UserAuth{SessionID: one}, ""},
		{"same session and host", bindings{{a, one, false, nil}}, sshwire.UserAuth{SessionID: one, HostKey: a}, ""},
		{"second hop", bindings{{a, one, true, nil}, {b, two, false, nil}}, sshwire.UserAuth{SessionID: two, HostKey: b}, ""},
		{"other session", bindings{{a, one, false, nil}}, sshwire.UserAuth{SessionID: two}, "another session"},
		{"other host", bindings{{a, one, false, nil}}, sshwire.UserAuth{SessionID: one, HostKey: b}, "another host"},
		{"first hop's session", bindings{{a, one, true, nil}, {b, two, false, nil}}, sshwire.UserAuth{SessionID: one}, "another session"},
		{"only forwarding", bindings{{a, one, true, nil}}, sshwire.UserAuth{SessionID: one}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.binds.check(&c.login)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

// TestBoundConnection: the binding reaches the signature, and the prompt.
func TestBoundConnection(t *testing.T) {
	h := start(t, func(c *Config) { c.Rules = map[key.ID]Rule{} })
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	h.server.config.Rules[in.ID] = Rule{Confirm: true}
	h.person.confirm = yes
	client, _ := h.dialSSH()
	server := newHost(t)
	one := []byte("session one")
	if _, err := client.Extension("session-bind@openssh.com", server.bind(t, one, false)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sign(sshKey(t, in), loginData(in, ssh.KeyAlgoECDSA256, one, nil)); err != nil {
		t.Error(err)
	}
	asked := h.person.questions()
	if len(asked) != 1 || asked[0].Facts[2] != (Fact{"Host key", ssh.FingerprintSHA256(server.signer.PublicKey()), false}) {
		t.Errorf("asked %+v", asked)
	}
	if _, err := client.Sign(sshKey(t, in), loginData(in, ssh.KeyAlgoECDSA256, []byte("other"), nil)); err == nil {
		t.Error("a login in another session was signed")
	}
	if r := h.lastRecord(); r.Form != FormUserAuth || r.Outcome != outcomeRefused {
		t.Errorf("audit %+v", r)
	}
}

// TestBindingsAreBounded: connections that are bound to large certificates share memory,
// and give it back; what an honest client needs is always there.
func TestBindingsAreBounded(t *testing.T) {
	h := start(t, nil)
	h.server.bindings = semaphore.NewWeighted(10 << 10)
	server := newHost(t)
	server.blob = hostCertificate(t, server, newHost(t), func(c *ssh.Certificate) { c.ValidPrincipals = []string{strings.Repeat("x", 7<<10)} }).blob
	first, conn := h.dialSSH()
	bind := func(c sshagent.ExtendedAgent, id string) error {
		_, err := c.Extension(extensionBind, server.bind(t, []byte(id), true))
		return err
	}
	if err := bind(first, "one"); err != nil {
		t.Error(err)
	}
	if err := bind(first, "two"); err == nil {
		t.Error("more than there is memory for")
	}
	second, _ := h.dialSSH()
	if err := bind(second, "one"); err == nil {
		t.Error("on another connection, more than there is memory for")
	}
	if _, err := second.Extension(extensionBind, newHost(t).bind(t, []byte("s"), false)); err != nil {
		t.Errorf("an honest client: %v", err)
	}
	conn.Close()
	third, _ := h.dialSSH()
	for deadline := time.Now().Add(5 * time.Second); bind(third, "one") != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the memory is not given back")
		}
	}
}

// FuzzBind checks that whatever is accepted verifies, and that a single changed
// bit in it is never accepted as another binding.
func FuzzBind(f *testing.F) {
	h := newHost(f)
	f.Add(h.bind(f, []byte("session"), false), 0)
	f.Add(h.bind(f, []byte("session"), true), 77)
	f.Add(h.certified(f).bind(f, []byte("session"), true), 1000)
	f.Add([]byte("x"), 3)
	f.Fuzz(func(t *testing.T, message []byte, flip int) {
		var b bindings
		if b.add(message) != nil {
			if len(b) != 0 {
				t.Fatalf("refused, and stored %v", b)
			}
			return
		}
		first := b[0]
		if err := verifyHost(first.hostKey, first.sessionID, signatureOf(t, message)); err != nil {
			t.Fatalf("accepted and does not verify: %v", err)
		}
		changed := bytes.Clone(message)
		changed[uint(flip)/8%uint(len(changed))] ^= 1 << (uint(flip) % 8)
		var c bindings
		if c.add(changed) == nil && !bytes.Equal(c[0].sessionID, first.sessionID) {
			t.Fatalf("accepted for the session %x what was signed for %x", c[0].sessionID, first.sessionID)
		}
	})
}

func signatureOf(t *testing.T, message []byte) []byte {
	t.Helper()
	var m struct {
		HostKey, SessionID, Signature []byte
		Forwarding                    bool
	}
	if err := ssh.Unmarshal(message, &m); err != nil {
		t.Fatal(err)
	}
	return m.Signature
}
