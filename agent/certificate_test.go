package agent

import (
	"bytes"
	"context"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// certificate is a certificate by an authority that nobody signed yet.
func certificate(t testing.TB, authority key.Info, change func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	by, err := ssh.NewPublicKey(authority.Public)
	if err != nil {
		t.Fatal(err)
	}
	c := &ssh.Certificate{
		Nonce: make([]byte, 32), Key: newHost(t).signer.PublicKey(), Serial: 7, CertType: ssh.UserCert, KeyId: "laptop of alice",
		ValidPrincipals: []string{"alice", "root"}, ValidAfter: 1700000000, ValidBefore: 1700003600,
		Permissions: ssh.Permissions{
			CriticalOptions: map[string]string{"force-command": "true"},
			Extensions:      map[string]string{"permit-pty": "", "login@example.org": "al\u202eice"},
		},
		SignatureKey: by,
	}
	if change != nil {
		change(c)
	}
	return c
}

// TestCertificate: a person sees what a certificate allows before it is signed, and
// a no is a no.
func TestCertificate(t *testing.T) {
	h := start(t, nil)
	ca := h.key(key.Spec{Name: "ca", Usage: key.SSHCA})
	client, _ := h.dialSSH()
	c := certificate(t, ca, nil)
	body := sshwire.MarshalCertificate(c)
	if _, err := client.Sign(sshKey(t, ca), body); err == nil {
		t.Error("signed without a yes")
	}
	if r := h.lastRecord(); r.Form != FormCertificate || r.Outcome != outcomeRefused || r.Code != "denied" {
		t.Errorf("audit %+v", r)
	}
	h.person.questions()
	h.person.confirm = yes
	s, err := client.Sign(sshKey(t, ca), body)
	if err != nil {
		t.Fatal(err)
	}
	if err := sshKey(t, ca).Verify(body, s); err != nil {
		t.Error(err)
	}
	_, certified := sha256Of(c.Key.Marshal())
	if r := h.lastRecord(); r.Outcome != outcomeDone || r.Digest != certified {
		t.Errorf("audit %+v; want the digest of the certified key", r)
	}
	asked := h.person.questions()
	if len(asked) != 1 {
		t.Fatalf("asked %d times", len(asked))
	}
	want := []Fact{
		{"Certificate for", "a user", false},
		{"Principals", `"alice", "root"`, false},
		{"Valid", "from 2023-11-14 22:13:20 until 2023-11-14 23:13:20 (UTC)", false},
		{"Restrictions", `"force-command"="true"`, false},
		{"Extensions", `"login@example.org"="al\u202eice", "permit-pty"`, false},
		{"Certified key", ssh.FingerprintSHA256(c.Key) + " (ssh-ed25519)", false},
		{"Certificate id", "laptop of alice", true},
		{"Serial", "7", false},
	}
	if diff := cmp.Diff(want, asked[0].Facts[2:]); diff != "" {
		t.Error(diff)
	}
}

// TestCertificatePIN: the PIN of a certificate authority is never remembered, so
// that a person sees each certificate.
func TestCertificatePIN(t *testing.T) {
	h := start(t, nil)
	h.person.pins = []string{"1234"}
	ca := h.key(key.Spec{Name: "ca", Usage: key.SSHCA, PIN: keytest.Lend([]byte("1234"))})
	client, _ := h.dialSSH()
	for range 2 {
		body := sshwire.MarshalCertificate(certificate(t, ca, func(c *ssh.Certificate) { c.CertType = ssh.HostCert }))
		if _, err := client.Sign(sshKey(t, ca), body); err != nil {
			t.Fatal(err)
		}
		asked := h.person.questions()
		if len(asked) != 1 || asked[0].Facts[2] != (Fact{"Certificate for", "a host", false}) {
			t.Errorf("asked %+v", asked)
		}
	}
}

// TestCertificateRefusals: what a person could not judge, and what is none of the
// key's business, is refused without a question.
func TestCertificateRefusals(t *testing.T) {
	h := start(t, nil)
	h.person.confirm = yes
	ca := h.key(key.Spec{Name: "ca", Usage: key.SSHCA})
	unattended := h.key(key.Spec{Name: "unattended", Usage: key.SSHCA, Unattended: true})
	login := h.key(key.Spec{Name: "login", Usage: key.SSH})
	host := h.key(key.Spec{Name: "host", Usage: key.SSHHost})
	client, _ := h.dialSSH()
	long := func(c *ssh.Certificate) {
		c.ValidPrincipals = []string{strings.Repeat("x", limits.ShownCertificate/2), strings.Repeat("y", limits.ShownCertificate/2)}
	}
	escaped := func(c *ssh.Certificate) {
		c.ValidPrincipals = []string{strings.Repeat("\x01", limits.ShownCertificate/4)}
	}
	options := func(c *ssh.Certificate) {
		c.CriticalOptions["force-command"] = strings.Repeat("x", limits.ShownCertificate)
	}
	nobody := func(c *ssh.Certificate) { c.ValidPrincipals = nil }
	for _, x := range []struct {
		name    string
		key     key.Info
		data    []byte
		form    Form
		granted bool
	}{
		{"principals of two lines", ca, sshwire.MarshalCertificate(certificate(t, ca, long)), FormCertificate, false},
		{"principals that grow when quoted", ca, sshwire.MarshalCertificate(certificate(t, ca, escaped)), FormCertificate, false},
		{"long options", ca, sshwire.MarshalCertificate(certificate(t, ca, options)), FormCertificate, false},
		{"no principals", ca, sshwire.MarshalCertificate(certificate(t, ca, nobody)), FormCertificate, false},
		{"no principals, unattended", unattended, sshwire.MarshalCertificate(certificate(t, unattended, nobody)), FormCertificate, false},
		{"long principals, unattended", unattended, sshwire.MarshalCertificate(certificate(t, unattended, long)), FormCertificate, true},
		{"by another authority", ca, sshwire.MarshalCertificate(certificate(t, unattended, nil)), FormUnrecognised, false},
		{"never valid", ca, sshwire.MarshalCertificate(certificate(t, ca, func(c *ssh.Certificate) { c.ValidBefore = 0 })), FormUnrecognised, false},
		{"trailing byte", ca, append(sshwire.MarshalCertificate(certificate(t, ca, nil)), 0), FormUnrecognised, false},
		{"by a login key", login, sshwire.MarshalCertificate(certificate(t, login, nil)), FormCertificate, false},
		{"by a host key", host, sshwire.MarshalCertificate(certificate(t, host, nil)), FormCertificate, false},
		{"login", ca, loginData(ca, ssh.KeyAlgoECDSA256, []byte("s"), nil), FormUserAuth, false},
		{"file signature", ca, sshsigData(t, "file"), FormSSHSIG, false},
		{"exchange hash", ca, make([]byte, 32), FormExchangeHash, false},
		{"host key proof", ca, proofOf(t, ca), FormHostKeyProof, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := client.Sign(sshKey(t, x.key), x.data)
			if r := h.lastRecord(); (err == nil) != x.granted || r.Form != x.form || (r.Outcome == outcomeDone) != x.granted {
				t.Errorf("%v, audit %+v", err, r)
			}
			if asked := h.person.questions(); len(asked) > 0 {
				t.Errorf("asked %+v", asked)
			}
		})
	}
}

// TestCertificateOnForwardedConnection: a server to which the agent is forwarded
// makes itself no certificates, also when nobody would be asked.
func TestCertificateOnForwardedConnection(t *testing.T) {
	h := start(t, nil)
	ca := h.key(key.Spec{Name: "ca", Usage: key.SSHCA, Unattended: true})
	body := sshwire.MarshalCertificate(certificate(t, ca, nil))
	client, _ := h.dialSSH()
	if _, err := client.Sign(sshKey(t, ca), body); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Extension(extensionBind, newHost(t).bind(t, []byte("session"), true)); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sign(sshKey(t, ca), body); err == nil {
		t.Error("signed for a server")
	}
	if r := h.lastRecord(); r.Outcome != outcomeRefused || r.Form != FormCertificate {
		t.Errorf("audit %+v", r)
	}
}

// TestCertificateFits: what a person must see of a certificate has room in a line of
// the Assuan protocol, where a line end takes three bytes; what a key that signs
// unattended asks its PIN for can be cut.
func TestCertificateFits(t *testing.T) {
	ref := key.Ref{Backend: "tpm", Name: strings.Repeat("n", 64)}
	ca := key.Info{Ref: ref, ID: key.ID(strings.Repeat("0", 64)), Usage: key.SSHCA, Imported: true, Public: rsaKey(t).Public()}
	c := certificate(t, ca, func(c *ssh.Certificate) {
		c.Serial, c.CriticalOptions, c.Extensions = math.MaxUint64, map[string]string{"a": ""}, map[string]string{"b": ""}
		c.ValidPrincipals = []string{strings.Repeat("p", limits.ShownCertificate-len(`"""a""b"`))}
	})
	if err := showableCertificate(c); err != nil {
		t.Fatal(err)
	}
	r := Request{Key: ca, Form: FormCertificate, Certificate: c}
	q := r.question("Enter the PIN of the key " + ref.String() + ".")
	size := len("SETDESC That was wrong: wrong PIN, 10 tries left.%0A%0A") + len(q.Title) + len("%0A")
	asker := Fact{Label: "Asked by (not verified)", Quoted: true} // internal/daemon adds it
	for _, f := range append(q.Facts, asker) {
		value := f.Value
		if f.Quoted {
			value = strings.Repeat("x", limits.ShortClaim) + `""...`
		}
		size += len("%0A") + len(f.Label) + len(": ") + len(value)
	}
	if size > limits.AssuanLine-len("sk-ecdsa-sha2-nistp256@openssh.com") { // the longest kind of key
		t.Errorf("%d bytes: %+v", size, q.Facts)
	}
	c.ValidPrincipals[0] += "p"
	for _, f := range r.question("").Facts {
		if list := slices.Contains([]string{"Principals", "Restrictions", "Extensions"}, f.Label); list && !f.Quoted {
			t.Errorf("%+v cannot be cut", f)
		}
	}
}

// proofOf is what a server signs to prove that it has a host key.
func proofOf(t testing.TB, in key.Info) []byte {
	t.Helper()
	blob, err := sshwire.Blob(in.Public)
	if err != nil {
		t.Fatal(err)
	}
	return (&sshwire.HostKeyProof{SessionID: []byte("session"), HostKey: blob}).Marshal()
}

// TestHostKey: a host key signs what servers sign, without a person, and nothing
// else; nor anything for a host that our user logs in to.
func TestHostKey(t *testing.T) {
	h := start(t, nil)
	h.person.confirm = yes
	in := h.key(key.Spec{Name: "host", Usage: key.SSHHost})
	other := h.key(key.Spec{Name: "other", Usage: key.SSHHost, Algorithm: key.P384})
	login := h.key(key.Spec{Name: "login", Usage: key.SSH})
	disguised := sshsigData(t, "file") // as long as SHA-512
	for _, x := range []struct {
		name    string
		key     key.Info
		data    []byte
		form    Form
		granted bool
	}{
		{"SHA-256", in, make([]byte, 32), FormExchangeHash, true},
		{"SHA-384", in, make([]byte, 48), FormExchangeHash, true},
		{"SHA-512", in, make([]byte, 64), FormExchangeHash, true},
		{"proof", in, proofOf(t, in), FormHostKeyProof, true},
		{"proof of another key", in, proofOf(t, other), FormUnrecognised, false},
		{"SHA-1", in, make([]byte, 20), FormUnrecognised, false},
		{"random data, as ssh-add -T", in, bytes.Repeat([]byte{0xa5}, 1024), FormUnrecognised, false},
		{"file signature as long as a hash", in, disguised, FormSSHSIG, false},
		{"login", in, loginData(in, ssh.KeyAlgoECDSA256, []byte("s"), nil), FormUserAuth, false},
		{"exchange hash, login key", login, make([]byte, 64), FormExchangeHash, false},
		{"proof, login key", login, proofOf(t, login), FormHostKeyProof, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			client, _ := h.dialSSH()
			s, err := client.Sign(sshKey(t, x.key), x.data)
			if r := h.lastRecord(); (err == nil) != x.granted || r.Form != x.form || (r.Outcome == outcomeDone) != x.granted {
				t.Errorf("%v, audit %+v", err, r)
			}
			if x.granted && err == nil && sshKey(t, x.key).Verify(x.data, s) != nil {
				t.Error("the signature is wrong")
			}
			if asked := h.person.questions(); len(asked) > 0 {
				t.Errorf("asked %+v", asked)
			}
			if _, err := client.Extension(extensionBind, newHost(t).bind(t, []byte("session"), true)); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Sign(sshKey(t, x.key), x.data); err == nil {
				t.Error("signed for a client's session")
			}
		})
	}
	if len(disguised) != 64 {
		t.Errorf("the file signature has %d bytes", len(disguised))
	}
}

// importedKeys are keys that were brought into their device.
type importedKeys struct{ key.Backend }

// Keys implements [key.Backend].
func (b importedKeys) Keys(ctx context.Context) iter.Seq2[key.Signer, error] {
	return func(yield func(key.Signer, error) bool) {
		for s, err := range b.Backend.Keys(ctx) {
			if !yield(importedKey{s}, err) {
				return
			}
		}
	}
}

type importedKey struct{ key.Signer }

// Info implements [key.Signer].
func (k importedKey) Info() key.Info {
	in := k.Signer.Info()
	in.Imported = true
	return in
}

// TestIdentities: login keys are listed first, and what is not born in the device
// says so, there and in prompts.
func TestIdentities(t *testing.T) {
	h := start(t, nil)
	h.server.config.Keys = key.NewRing(importedKeys{h.backend})
	for name, usage := range map[string]key.Usage{"a": key.SSHCA, "b": key.SSHHost, "c": key.Artifact, "d": key.Digest, "e": key.SSH} {
		h.key(key.Spec{Name: name, Usage: usage})
	}
	client, _ := h.dialSSH()
	keys, err := client.List()
	var comments []string
	for _, k := range keys {
		comments = append(comments, k.Comment)
	}
	if diff := cmp.Diff([]string{"e (imported)", "a (imported)", "b (imported)"}, comments); diff != "" || err != nil {
		t.Error(diff, err)
	}
	q := Request{Key: key.Info{Ref: key.Ref{Backend: "tpm", Name: "e"}, Usage: key.SSH, Imported: true}}.question("")
	if q.Facts[0] != (Fact{"Key", "tpm/e (ssh, imported)", false}) {
		t.Errorf("asked %+v", q.Facts)
	}
}
