package agent

import (
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/sshwire"
)

// hostCertificate is a host with a certificate by a CA.
func hostCertificate(t testing.TB, h, ca host, change func(*ssh.Certificate)) host {
	t.Helper()
	c := &ssh.Certificate{
		Key: h.signer.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"x.example.org", "*.example.com"},
		ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
	}
	if change != nil {
		change(c)
	}
	if err := c.SignCert(rand.Reader, ca.signer); err != nil {
		t.Fatal(err)
	}
	return host{h.signer, c.Marshal()}
}

func TestHopMatches(t *testing.T) {
	a, b, ca, other := newHost(t), newHost(t), newHost(t), newHost(t)
	entry := func(h host, ca bool) hop { return hop{host: "www.example.com", keys: []hopKey{{h.blob, ca}}} }
	rsaCA, err := ssh.NewSignerFromKey(rsaKey(t))
	if err != nil {
		t.Fatal(err)
	}
	sha1CA := host{sha1Signer{rsaCA}, rsaCA.PublicKey().Marshal()}
	past, future := uint64(time.Now().Unix()-1), uint64(time.Now().Unix()+100)
	for _, c := range []struct {
		name  string
		bound host
		hop   hop
		want  bool
	}{
		{"the key", a, entry(a, false), true},
		{"another key", a, entry(b, false), false},
		{"second of two keys", b, hop{host: "x", keys: []hopKey{{a.blob, false}, {b.blob, false}}}, true},
		{"the key as a CA", a, entry(a, true), false},
		{"certificate", hostCertificate(t, a, ca, nil), entry(ca, true), true},
		{"certificate, its key", hostCertificate(t, a, ca, nil), entry(a, false), false},
		{"certificate, CA as a plain key", hostCertificate(t, a, ca, nil), entry(ca, false), false},
		{"certificate by another CA", hostCertificate(t, a, other, nil), entry(ca, true), false},
		{"certificate for another name", hostCertificate(t, a, ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"x.example.org"} }), entry(ca, true), false},
		{"certificate for no name", hostCertificate(t, a, ca, func(c *ssh.Certificate) { c.ValidPrincipals = nil }), entry(ca, true), false},
		{"certificate of a user", hostCertificate(t, a, ca, func(c *ssh.Certificate) { c.CertType = ssh.UserCert }), entry(ca, true), false},
		{"expired", hostCertificate(t, a, ca, func(c *ssh.Certificate) { c.ValidBefore = past }), entry(ca, true), false},
		{"not valid yet", hostCertificate(t, a, ca, func(c *ssh.Certificate) { c.ValidAfter = future }), entry(ca, true), false},
		{"critical option", hostCertificate(t, a, ca, func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"x": ""} }), entry(ca, true), false},
		{"signed with SHA-1", hostCertificate(t, a, sha1CA, nil), entry(sha1CA, true), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.hop.matches(c.bound.blob, certificateOf(c.bound.blob)); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// sha1Signer hides that its key could sign with anything else.
type sha1Signer struct{ ssh.Signer }

// TestPermits walks the hops of a connection.
func TestPermits(t *testing.T) {
	a, b, c := hopKey{[]byte("a"), false}, hopKey{[]byte("b"), false}, hopKey{[]byte("c"), false}
	here := func(user string, to hopKey) destination {
		return destination{to: hop{user: user, host: string(to.blob), keys: []hopKey{to}}}
	}
	from := func(from hopKey, user string, to hopKey) destination {
		d := here(user, to)
		d.from = hop{host: string(from.blob), keys: []hopKey{from}}
		return d
	}
	fwd := func(k hopKey) binding { return binding{k.blob, append([]byte("session "), k.blob...), true, nil} }
	login := func(k hopKey) binding { return binding{k.blob, append([]byte("session "), k.blob...), false, nil} }
	toA := destinations{here("", a)}
	toB := destinations{here("", a), from(a, "", b)}
	for _, x := range []struct {
		name         string
		d            destinations
		s            session
		user         string
		sees, signs  bool
		otherSession bool
	}{
		{name: "unrestricted", user: "me", sees: true, signs: true},
		{name: "unrestricted, beyond", s: session{bindings{fwd(a)}, true}, user: "me", sees: true, signs: true},
		{name: "unrestricted, failed bind", s: session{nil, true}, user: "me", sees: true, signs: true},
		{name: "local", d: toA, user: "me", sees: true},
		{name: "failed bind", d: toA, s: session{nil, true}, user: "me"},
		{name: "login", d: toA, s: session{bindings{login(a)}, true}, user: "me", sees: true, signs: true},
		{name: "login elsewhere", d: toA, s: session{bindings{login(b)}, true}, user: "me"},
		{name: "user", d: destinations{here("m*", a)}, s: session{bindings{login(a)}, true}, user: "me", sees: true, signs: true},
		{name: "another user", d: destinations{here("you", a)}, s: session{bindings{login(a)}, true}, user: "me", sees: true},
		{name: "user of another destination", d: destinations{here("you", a), here("me", b)}, s: session{bindings{login(a)}, true}, user: "me", sees: true},
		{name: "forwarded, of no use beyond", d: toA, s: session{bindings{fwd(a)}, true}, user: "me"},
		{name: "forwarded, of use beyond", d: toB, s: session{bindings{fwd(a)}, true}, user: "me", sees: true},
		{name: "forwarded to a host that is not on the way", d: toB, s: session{bindings{fwd(c)}, true}, user: "me"},
		{name: "login beyond", d: toB, s: session{bindings{fwd(a), login(b)}, true}, user: "me", sees: true, signs: true},
		{name: "login beyond, to the first again", d: toB, s: session{bindings{fwd(a), login(a)}, true}, user: "me"},
		{name: "login beyond, elsewhere", d: toB, s: session{bindings{fwd(a), login(c)}, true}, user: "me"},
		{name: "login beyond, by another way", d: toB, s: session{bindings{fwd(c), login(b)}, true}, user: "me"},
		{name: "straight to what is beyond", d: toB, s: session{bindings{login(b)}, true}, user: "me"},
		{name: "forwarded twice", d: toB, s: session{bindings{fwd(a), fwd(b)}, true}, user: "me"},
		{name: "three hops", d: append(slices.Clone(toB), from(b, "", c)), s: session{bindings{fwd(a), fwd(b), login(c)}, true}, user: "me", sees: true, signs: true},
		{name: "user of a hop that is only passed", d: destinations{here("you", a), from(a, "me", b)}, s: session{bindings{fwd(a), login(b)}, true}, user: "me", sees: true, signs: true},
		{name: "login before the last hop", d: toB, s: session{bindings{login(a), login(b)}, true}, user: "me"},
	} {
		t.Run(x.name, func(t *testing.T) {
			if _, sees := x.d.permits(x.s, nil); sees != x.sees {
				t.Errorf("sees the key: %v", sees)
			}
			u := &sshwire.UserAuth{User: x.user, SessionID: []byte("none")}
			if n := len(x.s.binds); n > 0 {
				u.SessionID, u.HostKey = x.s.binds[n-1].sessionID, x.s.binds[n-1].hostKey
			}
			if _, err := x.d.permitsLogin(x.s, u); (err == nil) != x.signs {
				t.Errorf("signs: %v", err)
			}
		})
	}
	bound := session{bindings{fwd(a), login(b)}, true}
	last := bound.binds[1]
	for name, u := range map[string]*sshwire.UserAuth{
		"no login":        nil,
		"another session": {User: "me", SessionID: []byte("x"), HostKey: last.hostKey},
		"no host":         {User: "me", SessionID: last.sessionID},
		"another host":    {User: "me", SessionID: last.sessionID, HostKey: a.blob},
	} {
		if _, err := toB.permitsLogin(bound, u); err == nil {
			t.Errorf("%s: signs", name)
		}
	}
	direct := session{bindings{login(a)}, true}
	if host, err := toA.permitsLogin(direct, &sshwire.UserAuth{User: "me", SessionID: direct.binds[0].sessionID}); err != nil || host != "a" {
		t.Errorf("a first login without the host's key: %q, %v", host, err)
	}
}

// TestRestrictedKey drives the rules over a socket.
func TestRestrictedKey(t *testing.T) {
	h := start(t, nil)
	h.person.confirm = yes
	server, other := newHost(t), newHost(t)
	k := softKeys()[1]
	local, _ := h.dialSSH()
	constraint := restrict(destination{to: hop{host: "server", keys: []hopKey{{server.blob, false}}}})
	conn := h.dialRaw()
	if got := exchange(t, conn, slices.Concat([]byte{25}, addMessage(t, k.private, "k"), constraint, []byte{2})); got[0] != agentSuccess {
		t.Fatalf("add: %x", got)
	}
	if got := h.list(local); len(got) != 1 {
		t.Errorf("a local program sees %q", got)
	}
	if _, err := local.Sign(k.signer.PublicKey(), sshsigData(t, "git")); err == nil {
		t.Error("a restricted key signs a file")
	}
	one := []byte("session one")
	login := (&sshwire.UserAuth{SessionID: one, User: "me", Algorithm: ssh.KeyAlgoECDSA256, Key: k.signer.PublicKey().Marshal()}).Marshal()
	if _, err := local.Sign(k.signer.PublicKey(), login); err == nil {
		t.Error("a restricted key logs in from a connection that is not bound")
	}
	bound, _ := h.dialSSH()
	if _, err := bound.Extension(extensionBind, server.bind(t, one, false)); err != nil {
		t.Fatal(err)
	}
	if _, err := bound.Sign(k.signer.PublicKey(), login); err != nil {
		t.Error(err)
	}
	q := h.person.questions()
	if len(q) != 1 || !slices.Contains(q[0].Facts, Fact{"Host", "server", true}) || !slices.Contains(q[0].Facts, Fact{"Log in as", "me", true}) {
		t.Errorf("asked %+v", q)
	}
	for name, bind := range map[string][]byte{"elsewhere": other.bind(t, one, false), "a failed bind": []byte("x"), "of no use beyond": server.bind(t, one, true)} {
		far, _ := h.dialSSH()
		far.Extension(extensionBind, bind)
		if got := h.list(far); len(got) != 0 {
			t.Errorf("%s: sees %q", name, got)
		}
		if err := far.Remove(k.signer.PublicKey()); err == nil {
			t.Errorf("%s: removed the key", name)
		}
		if err := far.Add(sshagent.AddedKey{PrivateKey: k.private}); err == nil {
			t.Errorf("%s: took the restriction off", name)
		}
		if _, err := far.Sign(k.signer.PublicKey(), login); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if got := h.list(bound); len(got) != 1 {
		t.Errorf("afterwards the bound connection sees %q", got)
	}
	far, _ := h.dialSSH()
	far.Extension(extensionBind, []byte("x"))
	if err := far.RemoveAll(); err != nil || len(h.list(local)) != 0 {
		t.Errorf("removing all is anybody's right: %v", err)
	}
}
