package agenttest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/sshtest"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestLogin logs in with each kind of key, and copies files.
func TestLogin(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		var lines []string
		for _, kind := range []string{"ed25519", "ecdsa-384", "rsa"} {
			lines = append(lines, s.added(kind))
		}
		server := sshtest.Start(t, []byte(strings.Join(lines, "\n")), "Subsystem sftp internal-sftp")
		for _, kind := range []string{"ecdsa-384", "rsa"} {
			args := []string{"-o", "IdentitiesOnly=yes", "-i", s.path(kind + ".pub")}
			if out := s.must(testenv.SSH, append(append(args, server.Args()...), "echo", "welcome")...); out != "welcome\n" {
				t.Errorf("%s: %q", kind, out)
			}
		}
		s.write("file", "content", 0o600)
		s.write("batch", "get "+s.path("file")+" "+s.path("fetched"), 0o600)
		options := []string{"-q", "-F", "none", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=" + server.KnownHosts, "-P", fmt.Sprint(server.Port)}
		s.must(testenv.SCP, append(options, s.path("file"), server.User+"@127.0.0.1:"+s.path("sent"))...)
		s.must(testenv.SFTP, append(options, "-b", s.path("batch"), server.User+"@127.0.0.1")...)
		for _, name := range []string{"sent", "fetched"} {
			if got, err := os.ReadFile(s.path(name)); err != nil || string(got) != "content" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	})
}

// TestFiles signs a file and a commit, and certifies a key.
func TestFiles(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		line := s.added("ed25519")
		s.write("allowed", "me "+line+"\n", 0o600)
		s.write("document", "a file", 0o600)
		if err := os.Remove(s.path("ed25519")); err != nil {
			t.Fatal(err)
		}
		s.must(testenv.SSHKeygen, "-q", "-Y", "sign", "-f", s.path("ed25519.pub"), "-n", "any@example.org", s.path("document"))
		s.must("sh", "-c", "ssh-keygen -Y verify -f allowed -I me -n any@example.org -s document.sig < document")

		s.must(testenv.Git, "init", "-q", s.path("repository"))
		git := []string{"-C", s.path("repository"), "-c", "user.name=n", "-c", "user.email=me", "-c", "gpg.format=ssh",
			"-c", "gpg.ssh.allowedSignersFile=" + s.path("allowed"), "-c", "user.signingkey=" + s.path("ed25519.pub")}
		s.must(testenv.Git, append(git, "commit", "-q", "-S", "--allow-empty", "-m", "signed")...)
		s.must(testenv.Git, append(git, "verify-commit", "HEAD")...)

		s.key("ecdsa-256")
		s.must(testenv.SSHKeygen, "-q", "-s", s.path("ed25519.pub"), "-U", "-I", "id", "-n", "me", "-V", "+1h", s.path("ecdsa-256.pub"))
		if out := s.must(testenv.SSHKeygen, "-L", "-f", s.path("ecdsa-256-cert.pub")); !strings.Contains(out, "Signing CA: ED25519") {
			t.Errorf("certificate: %s", out)
		}
	})
}

// TestHostKey runs an sshd whose host key the agent holds.
func TestHostKey(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		host := s.added("ecdsa-256")
		server := sshtest.Start(t, []byte(s.added("ed25519")), "HostKeyAgent "+s.socket, "HostKey "+s.path("ecdsa-256.pub"))
		known := fmt.Sprintf("[127.0.0.1]:%d %s\n", server.Port, fields(host))
		s.write("known_hosts", known, 0o600)
		args := append([]string{"-o", "UserKnownHostsFile=" + s.path("known_hosts"), "-o", "HostKeyAlgorithms=ecdsa-sha2-nistp256"}, server.Args()...)
		if out := s.must(testenv.SSH, append(args, "echo", "welcome")...); out != "welcome\n" {
			t.Errorf("%q", out)
		}
	})
}

// hops are two servers; from the first one logs in to the second with the forwarded
// agent.
type hops struct {
	*subject
	first, second *sshtest.Server
	known         string
}

func newHops(t *testing.T, s *subject) *hops {
	t.Helper()
	line := []byte(s.key("ed25519"))
	h := &hops{subject: s, first: sshtest.Start(t, line), second: sshtest.Start(t, line), known: s.path("known_hosts")}
	var known []byte
	for _, server := range []*sshtest.Server{h.first, h.second} {
		data, err := os.ReadFile(server.KnownHosts)
		if err != nil {
			t.Fatal(err)
		}
		known = append(known, data...)
	}
	s.write("known_hosts", string(known), 0o600)
	return h
}

// name is what the server is called in known_hosts and in destinations.
func name(server *sshtest.Server) string { return fmt.Sprintf("[127.0.0.1]:%d", server.Port) }

// beyond logs in to the first server with the agent forwarded, and asks there
// whether the agent lists a key, and logs in to the second.
func (h *hops) beyond() (toFirst, listed, toSecond bool) {
	h.t.Helper()
	script := "ssh-add -L >/dev/null && echo listed; ssh " + strings.Join(h.second.Args(), " ") + " echo second"
	e := h.try(testenv.SSH, append(append([]string{"-A"}, h.first.Args()...), "echo first; "+script)...)
	got := strings.Fields(e.out)
	return slices.Contains(got, "first"), slices.Contains(got, "listed"), slices.Contains(got, "second")
}

// TestForwarding logs in to a server and from there to another, with a key that is
// restricted to destinations.
func TestForwarding(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		h := newHops(t, s)
		first, second, user := name(h.first), name(h.second), h.first.User
		type verdict struct{ toFirst, listed, toSecond bool }
		for what, c := range map[string]struct {
			destinations []string
			want         verdict
		}{
			"first hop":                 {[]string{first}, verdict{true, false, false}},
			"both hops":                 {[]string{first, first + ">" + second}, verdict{true, true, true}},
			"pattern of users":          {[]string{"?" + user[1:] + "@" + first, first + ">" + user[:1] + "*@" + second}, verdict{true, true, true}},
			"another user's first hop":  {[]string{"not" + user + "@" + first}, verdict{}},
			"another user's second hop": {[]string{first, first + ">not" + user + "@" + second}, verdict{true, true, false}},
			"second server alone":       {[]string{second}, verdict{}},
			"second hop alone":          {[]string{first + ">" + second}, verdict{}},
		} {
			s.must(testenv.SSHAdd, "-D", "-q")
			args := []string{"-q", "-H", h.known}
			for _, d := range c.destinations {
				args = append(args, "-h", d)
			}
			s.must(testenv.SSHAdd, append(args, s.path("ed25519"))...)
			if listed := s.list(); len(listed) != 1 {
				t.Errorf("%s: listed at home: %q", what, listed)
			}
			var got verdict
			if got.toFirst, got.listed, got.toSecond = h.beyond(); got != c.want {
				t.Errorf("%s: %+v, want %+v", what, got, c.want)
			}
			s.fails(1, testenv.SSHAdd, "-T", s.path("ed25519.pub")) // it is for logins
		}
		s.must(testenv.SSHAdd, "-q", s.path("ed25519")) // added again, it is for all
		if got, listed, beyond := h.beyond(); !got || !listed || !beyond {
			t.Errorf("not restricted any more: %v, %v, %v", got, listed, beyond)
		}
	})
}
