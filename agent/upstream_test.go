package agent

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/sshtest"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

// openSSHAgent is OpenSSH's ssh-agent.
type openSSHAgent struct {
	t    *testing.T
	path string
	end  func()
}

// start runs it until it is ended, or the test.
func (a *openSSHAgent) start() sshagent.ExtendedAgent {
	a.t.Helper()
	os.Remove(a.path) // left by one that was killed
	cmd := exec.Command(testenv.Need(a.t, testenv.SSHAgent), "-D", "-a", a.path)
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.end = func() { cmd.Process.Kill(); cmd.Wait() }
	a.t.Cleanup(a.end)
	var conn net.Conn
	eventually(a.t, "ssh-agent answers", func() bool {
		c, err := net.Dial("unix", a.path)
		conn = c
		return err == nil
	})
	a.t.Cleanup(func() { conn.Close() })
	return sshagent.NewClient(conn)
}

func newOpenSSHAgent(t *testing.T) (*openSSHAgent, sshagent.ExtendedAgent) {
	a := &openSSHAgent{t: t, path: filepath.Join(testenv.SocketDir(t), "s")}
	return a, a.start()
}

func with(all ...Upstream) func(*Config) { return func(c *Config) { c.Upstreams = all } }

// TestUpstream: keys of OpenSSH's agent are listed behind ours and sign, also when it
// was killed and started again.
func TestUpstream(t *testing.T) {
	theirs, upstream := newOpenSSHAgent(t)
	gone := Upstream{Path: filepath.Join(testenv.SocketDir(t), "none")}
	h := start(t, with(gone, Upstream{Path: theirs.path}))
	h.key(key.Spec{Name: "own", Usage: key.SSH})
	h.key(key.Spec{Name: "ca", Usage: key.SSHCA})
	client, _ := h.dialSSH()
	soft := softKeys()
	fill := func() {
		for _, k := range soft {
			if err := upstream.Add(sshagent.AddedKey{PrivateKey: k.private, Comment: "their " + k.name + "\x1b[2J"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill()
	if err := client.Add(sshagent.AddedKey{PrivateKey: soft[0].private, Comment: "added here"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"own", "added here", "their P-256?[2J", "their P-384?[2J", "their P-521?[2J", "their RSA?[2J", "ca"}
	if got := h.list(client); !slices.Equal(got, want) {
		t.Errorf("listed %q; want %q", got, want)
	}
	data := []byte("what nobody knows")
	for _, k := range soft[1:] {
		for _, flags := range k.flags {
			s, err := client.SignWithFlags(k.signer.PublicKey(), data, flags)
			if err == nil {
				err = k.signer.PublicKey().Verify(data, s)
			}
			r := h.lastRecord()
			if err != nil || r.Ref != "agent/"+ssh.FingerprintSHA256(k.signer.PublicKey()) || r.Outcome != outcomeDone || r.Key == "" || r.Form != FormUnrecognised {
				t.Errorf("%s with flags %d: %v, audit %+v", k.name, flags, err, r)
			}
		}
	}
	if _, err := client.Sign(soft[4].signer.PublicKey(), data); err == nil || h.lastRecord().Code != "unsupported" {
		t.Errorf("with SHA-1: %v, audit %+v", err, h.lastRecord())
	}
	// What is changed here is changed here alone.
	if err := client.Remove(soft[1].signer.PublicKey()); err == nil {
		t.Error("a key of the upstream was removed")
	}
	if err := client.RemoveAll(); err != nil {
		t.Fatal(err)
	}
	if all, err := upstream.List(); err != nil || len(all) != len(soft) {
		t.Errorf("the upstream has %v, %v", all, err)
	}

	theirs.end()
	for range 2 {
		if got := h.list(client); !slices.Equal(got, []string{"own", "ca"}) {
			t.Errorf("listed without the upstream: %q", got)
		}
	}
	if _, err := client.Sign(soft[1].signer.PublicKey(), data); err == nil {
		t.Error("signed without the upstream")
	}
	if n := strings.Count(h.logs.String(), "path="+theirs.path); n != 1 {
		t.Errorf("that the upstream is gone was told %d times", n)
	}
	upstream = theirs.start()
	fill()
	if got := h.list(client); len(got) != 7 {
		t.Errorf("listed with the new one: %q", got)
	}
	if err := client.Lock([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := h.list(client); len(got) != 0 {
		t.Errorf("listed while locked: %q", got)
	}
	if _, err := client.Sign(soft[1].signer.PublicKey(), data); err == nil {
		t.Error("signed while locked")
	}
}

// TestUpstreamFiltered: only the keys that are named can be used, and a rule about one
// of them has a person asked.
func TestUpstreamFiltered(t *testing.T) {
	theirs, upstream := newOpenSSHAgent(t)
	soft := softKeys()
	for _, k := range soft {
		if err := upstream.Add(sshagent.AddedKey{PrivateKey: k.private, Comment: k.name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := upstream.Add(sshagent.AddedKey{PrivateKey: soft[1].private, Comment: "certified", Certificate: certify(t, soft[1].signer.PublicKey(), nil)}); err != nil {
		t.Fatal(err)
	}
	chosen := soft[1].signer.PublicKey()
	id := upstreamKey(chosen.Marshal()).ID
	h := start(t, func(c *Config) {
		c.Upstreams = []Upstream{{Path: theirs.path, Keys: []string{ssh.FingerprintSHA256(chosen)}}}
		c.Rules = map[key.ID]Rule{id: {Confirm: true}}
	})
	client, _ := h.dialSSH()
	if got := h.list(client); !slices.Equal(got, []string{"P-256", "certified"}) {
		t.Errorf("listed %q", got)
	}
	if _, err := client.Sign(soft[2].signer.PublicKey(), []byte("x")); err == nil {
		t.Error("another key signed")
	}
	if _, err := client.Sign(chosen, []byte("x")); err == nil || h.lastRecord().Code != "denied" {
		t.Errorf("signed against a no: %+v", h.lastRecord())
	}
	h.person.mu.Lock()
	h.person.confirm = yes
	h.person.mu.Unlock()
	if _, err := client.Sign(chosen, []byte("x")); err != nil {
		t.Error(err)
	}
	if q := h.person.questions(); len(q) != 2 || !strings.HasSuffix(q[0].Facts[0].Value, "(of another agent)") {
		t.Errorf("asked %+v", q)
	}
}

// TestUpstreamLogin: ssh logs in with a key that the upstream restricts to this very
// host, which it can as it is told about the session; nowhere else.
func TestUpstreamLogin(t *testing.T) {
	theirs, _ := newOpenSSHAgent(t)
	h := start(t, with(Upstream{Path: theirs.path}))
	dir := t.TempDir()
	file := filepath.Join(dir, "id")
	if out, err := exec.Command(testenv.Need(t, testenv.SSHKeygen), "-q", "-t", "ed25519", "-N", "", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pub, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	allowed, other := sshtest.Start(t, pub), sshtest.Start(t, pub)
	known, err := os.ReadFile(allowed.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	// ssh-add takes names without a port.
	known = []byte("here " + strings.SplitN(string(known), " ", 2)[1])
	hosts := filepath.Join(dir, "hosts")
	if err := os.WriteFile(hosts, known, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(testenv.Need(t, testenv.SSHAdd), "-q", "-H", hosts, "-h", "here", file)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+theirs.path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v\n%s", err, out)
	}
	if out, err := allowed.Login(t, h.ssh, "echo", "in"); err != nil || !strings.HasSuffix(string(out), "in\n") {
		t.Fatalf("login: %v\n%s", err, out)
	}
	if r := h.lastRecord(); r.Form != FormUserAuth || !strings.HasPrefix(r.Ref, "agent/SHA256:") {
		t.Errorf("audit %+v", r)
	}
	if out, err := other.Login(t, h.ssh, "echo", "in"); err == nil {
		t.Errorf("login at another host: %s", out)
	}
}

// TestUpstreamDevices: an agent with our devices signs in our place with their keys and
// shows none of its others; without it, we sign.
func TestUpstreamDevices(t *testing.T) {
	first := start(t, nil)
	in := first.key(key.Spec{Name: "k", Usage: key.SSH})
	added, _ := first.dialSSH()
	if err := added.Add(sshagent.AddedKey{PrivateKey: softKeys()[0].private, Comment: "not for others"}); err != nil {
		t.Fatal(err)
	}
	second := start(t, func(c *Config) {
		c.Keys = key.NewRing(first.backend)
		c.Upstreams = []Upstream{{Path: first.ssh, Devices: true}}
	})
	client, _ := second.dialSSH()
	if got := second.list(client); !slices.Equal(got, []string{"k"}) {
		t.Errorf("listed %q", got)
	}
	data := sshsigData(t, "git")
	sign := func() {
		t.Helper()
		s, err := client.Sign(sshKey(t, in), data)
		if err == nil {
			err = sshKey(t, in).Verify(data, s)
		}
		if err != nil {
			t.Error(err)
		}
	}
	sign()
	if theirs, ours := first.lastRecord(), second.lastRecord(); theirs.Action != "sign" || theirs.Ref != "tpm/k" || !strings.HasPrefix(ours.Ref, "agent/") {
		t.Errorf("audit: %+v there, %+v here", theirs, ours)
	}
	if _, err := client.Sign(sshKey(t, in), []byte("of no known kind")); err == nil {
		t.Error("signed what nobody can name")
	}
	if theirs, ours := first.lastRecord(), second.lastRecord(); theirs.Code != "not_allowed" || ours.Code != "other_agent" || ours.Outcome != outcomeRefused {
		t.Errorf("audit: %+v there, %+v here", theirs, ours)
	}
	first.stop()
	sign()
	if r := second.lastRecord(); r.Ref != "tpm/k" {
		t.Errorf("audit without the other: %+v", r)
	}
}
