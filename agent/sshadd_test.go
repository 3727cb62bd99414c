package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

// sshAdd runs OpenSSH's programs in a folder of their own.
type sshAdd struct {
	h   *harness
	dir string
}

func (s sshAdd) run(program testenv.Program, input string, args ...string) (string, error) {
	s.h.t.Helper()
	cmd := exec.CommandContext(s.h.t.Context(), testenv.Need(s.h.t, program), args...)
	cmd.Dir = s.dir
	// It asks this for the passphrase of the lock.
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+s.h.ssh, "HOME="+s.dir, "SSH_ASKPASS="+filepath.Join(s.dir, "askpass"), "SSH_ASKPASS_REQUIRE=force")
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// want runs ssh-add and says what it should have printed.
func (s sshAdd) want(ok bool, text string, args ...string) {
	s.h.t.Helper()
	if out, err := s.run(testenv.SSHAdd, "", args...); (err == nil) != ok || !strings.Contains(out, text) {
		s.h.t.Errorf("ssh-add %q: %q, %v; want %q", args, out, err, text)
	}
}

func (s sshAdd) file(name, text string, mode os.FileMode) {
	s.h.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), mode); err != nil {
		s.h.t.Fatal(err)
	}
}

// newSSHAdd makes the keys by OpenSSH's names for them, and an authority.
func newSSHAdd(t *testing.T, kinds ...string) sshAdd {
	t.Helper()
	s := sshAdd{start(t, nil), t.TempDir()}
	s.file("askpass", "#!/bin/sh\ncat \"$HOME/passphrase\"\n", 0o700)
	bits := map[string]string{"ed25519": "256", "ecdsa": "384", "rsa": "2048"}
	for _, kind := range append(kinds, "ed25519") {
		if out, err := s.run(testenv.SSHKeygen, "", "-t", kind, "-b", bits[kind], "-q", "-N", "", "-C", "me "+kind, "-f", kind); err != nil {
			t.Fatal(out)
		}
	}
	if out, err := s.run(testenv.SSHKeygen, "", "-t", "ed25519", "-q", "-N", "", "-f", "ca"); err != nil {
		t.Fatal(out)
	}
	return s
}

// TestSSHAdd drives software keys with OpenSSH's own program.
func TestSSHAdd(t *testing.T) {
	s := newSSHAdd(t, "ecdsa", "rsa")
	s.want(true, "Identity added: ed25519 (me ed25519)", "ed25519")
	s.want(true, "Identity added: ecdsa", "ecdsa")
	s.want(true, "Lifetime set to 3600 seconds", "-t", "1h", "rsa")
	s.want(true, "me rsa (RSA)", "-l")
	s.want(true, "me rsa", "-L")
	s.want(true, "MD5:", "-l", "-E", "md5")
	s.want(true, "", "-T", "ed25519.pub", "ecdsa.pub")
	s.want(true, "", "-v", "-T", "ed25519.pub")
	s.file("text", "text", 0o600)
	if out, err := s.run(testenv.SSHKeygen, "", "-Y", "sign", "-n", "any", "-f", "rsa.pub", "text"); err != nil {
		t.Errorf("ssh-keygen -Y sign: %q, %v", out, err)
	}
	s.want(true, "Identity removed", "-d", "ecdsa")
	s.want(false, "", "-d", "ecdsa")
	s.want(true, "", "-q", "-D")
	s.want(false, "no identities", "-l")
	s.want(true, "", "-q", "ed25519")
	s.h.server.RemoveSoftwareKeys()
	s.want(false, "no identities", "-l")
}

func TestSSHAddConfirm(t *testing.T) {
	s := newSSHAdd(t)
	s.want(true, "The user must confirm each use of the key", "-c", "ed25519")
	s.want(false, "agent refused operation", "-T", "ed25519.pub")
	s.h.person.mu.Lock()
	s.h.person.confirm = yes
	s.h.person.mu.Unlock()
	s.want(true, "", "-T", "ed25519.pub")
	if asked := s.h.person.questions(); len(asked) != 2 {
		t.Errorf("asked %+v", asked)
	}
}

func TestSSHAddLifetime(t *testing.T) {
	s := newSSHAdd(t)
	s.want(true, "Lifetime set to 1 seconds", "-t", "1", "ed25519")
	eventually(t, "the key goes by itself", func() bool {
		s.h.server.software.mu.Lock()
		defer s.h.server.software.mu.Unlock()
		return len(s.h.server.software.keys) == 0
	})
}

func TestSSHAddCertificate(t *testing.T) {
	s := newSSHAdd(t, "ecdsa", "rsa")
	for _, name := range []string{"ed25519", "ecdsa", "rsa"} {
		if out, err := s.run(testenv.SSHKeygen, "", "-q", "-s", "ca", "-I", "id", "-n", "me", "-V", "+1h", name+".pub"); err != nil {
			t.Fatal(out)
		}
		s.want(true, "Certificate added: "+name+"-cert.pub", name)
	}
	s.want(true, "me rsa (RSA-CERT)", "-l")
	s.want(true, "", "-T", "ed25519-cert.pub", "ecdsa-cert.pub")
	if got := len(s.h.server.software.list()); got != 6 {
		t.Errorf("%d identities", got)
	}
	for _, k := range s.h.server.software.list() {
		// Newer versions have a certificate go soon after its end.
		if life := k.constraints.lifetime; life > 2*time.Hour {
			t.Errorf("%s goes after %v", k.public.Type(), life)
		}
	}
}

func TestSSHAddLock(t *testing.T) {
	s := newSSHAdd(t, "ecdsa")
	s.want(true, "", "ed25519")
	s.file("passphrase", "open sesame\n", 0o600)
	s.want(true, "Agent locked", "-x")
	s.want(false, "", "-x")
	s.want(false, "no identities", "-l")
	s.want(false, "", "ecdsa")
	s.want(false, "", "-T", "ed25519.pub")
	s.file("passphrase", "open barley\n", 0o600)
	s.want(false, "", "-X")
	s.file("passphrase", "open sesame\n", 0o600)
	s.want(true, "Agent unlocked", "-X")
	s.want(true, "me ed25519", "-l")
}

func TestSSHAddDestinations(t *testing.T) {
	s := newSSHAdd(t)
	public, err := os.ReadFile(filepath.Join(s.dir, "ca.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s.file("hosts", "a.example.org "+string(public)+"@cert-authority *.example.com "+string(public), 0o600)
	s.want(true, "Identity added", "-H", "hosts", "-h", "me@a.example.org", "-h", "a.example.org>b.example.com", "ed25519")
	held := s.h.server.software.list()
	if len(held) != 1 || len(held[0].constraints.destinations) != 2 {
		t.Fatalf("held %+v", held)
	}
	first, second := held[0].constraints.destinations[0], held[0].constraints.destinations[1]
	if first.from.host != "" || first.to.host != "a.example.org" || first.to.user != "me" || len(first.to.keys) != 1 || first.to.keys[0].ca {
		t.Errorf("first %+v", first)
	}
	if second.from.host != "a.example.org" || second.to.host != "b.example.com" || second.to.user != "" || len(second.to.keys) != 1 || !second.to.keys[0].ca {
		t.Errorf("second %+v", second)
	}
	s.want(true, "me ed25519", "-l")
	s.want(false, "agent refused operation", "-T", "ed25519.pub")
}

// TestSSHAddBesideHardware: what a device holds, ssh-add neither takes nor removes.
func TestSSHAddBesideHardware(t *testing.T) {
	s := newSSHAdd(t)
	in := s.h.key(key.Spec{Name: "k", Usage: key.SSH, Comment: "in a device"})
	s.file("k.pub", string(ssh.MarshalAuthorizedKey(sshKey(t, in))), 0o600)
	s.want(true, "", "ed25519")
	s.want(false, "Could not remove identity", "-d", "k.pub")
	s.want(true, "All identities removed", "-D")
	s.want(true, "in a device", "-l")
	if _, err := s.run(testenv.SSHAdd, "", "-s", "/usr/lib/none.so"); err == nil {
		t.Error("a token was taken")
	}
}
