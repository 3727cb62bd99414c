package agenttest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// fields are the type and the key of a public line, without its comment.
func fields(line string) string { return strings.Join(strings.Fields(line)[:2], " ") }

// TestAdd adds each kind of key, uses it and removes it, with the options of ssh-add
// that say so.
func TestAdd(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		s.fails(1, testenv.SSHAdd, "-l")
		var lines []string
		for _, kind := range kinds {
			lines = append(lines, s.added(kind))
		}
		if got := s.list(); !slices.Equal(got, lines) {
			t.Errorf("listed %q, want %q", got, lines)
		}
		fingerprints := s.must(testenv.SSHAdd, "-l", "-E", "md5")
		for _, kind := range kinds {
			if !strings.Contains(fingerprints, " "+kind+" (") {
				t.Errorf("-l does not show %s: %s", kind, fingerprints)
			}
			if kind != "rsa" || s.name != ours { // older ones ask for SHA-1: TestSignFlags
				s.must(testenv.SSHAdd, "-T", s.path(kind+".pub"))
			}
		}
		if verbose := s.try(testenv.SSHAdd, "-v", s.path("rsa")); verbose.status != 0 || !strings.Contains(verbose.err, "Identity added: "+s.path("rsa")) {
			t.Errorf("-v: %+v", verbose)
		}
		if got := s.list(); !slices.Equal(got, lines) {
			t.Errorf("added twice: listed %q, want %q", got, lines)
		}
		s.must(testenv.SSHAdd, "-q", "-d", s.path("ecdsa-256"))
		s.fails(1, testenv.SSHAdd, "-d", s.path("ecdsa-256"))
		if got := s.list(); len(got) != len(kinds)-1 || slices.Contains(got, lines[1]) {
			t.Errorf("after -d: %q", got)
		}
		s.fails(1, testenv.SSHAdd, "-T", s.path("ecdsa-256.pub"))
		s.must(testenv.SSHAdd, "-D")
		if got := s.list(); got != nil {
			t.Errorf("after -D: %q", got)
		}
		s.must(testenv.SSHAdd, "-D")
		s.fails(1, testenv.SSHAdd, "-q", "-s", "/nonexistent.so")
		s.fails(1, testenv.SSHAdd, "-q", "-e", "/nonexistent.so")
		s.fails(1, testenv.SSHAdd, "-q", "-K") // there is no FIDO token
		s.fails(1, testenv.SSHAdd, "-q", "-K", "-S", "/nonexistent.so")
		s.must("sh", "-c", "ssh-add -q - < ecdsa-256")
		if got := s.list(); len(got) != 1 || fields(got[0]) != fields(lines[1]) {
			t.Errorf("from standard input: %q", got)
		}
	})
}

// TestCertificate adds a key with its certificate, and one without.
func TestCertificate(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		s.key("rsa")
		for _, kind := range []string{"ed25519", "ecdsa-256"} {
			s.key(kind)
			s.must(testenv.SSHKeygen, "-q", "-s", s.path("rsa"), "-I", "id", "-n", "me", "-V", "+1h", s.path(kind+".pub"))
		}
		s.must(testenv.SSHAdd, "-q", s.path("ed25519"))
		s.must(testenv.SSHAdd, "-q", "-k", s.path("ecdsa-256"))
		var got []string
		for _, line := range s.list() {
			got = append(got, strings.Fields(line)[0])
		}
		if want := []string{"ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com", "ecdsa-sha2-nistp256"}; !slices.Equal(got, want) {
			t.Errorf("listed %q, want %q", got, want)
		}
		s.must(testenv.SSHAdd, "-T", s.path("ed25519-cert.pub"))
		s.must(testenv.SSHAdd, "-q", "-d", s.path("ed25519"))
		if got := s.list(); len(got) != 1 {
			t.Errorf("after -d: %q", got)
		}
	})
}

// TestLifetime adds keys that expire, and one of them again, for longer.
func TestLifetime(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		s.added("ed25519", "-t", "2")
		kept := s.added("ecdsa-256", "-t", "2")
		s.must(testenv.SSHAdd, "-q", "-t", "1h", s.path("ecdsa-256"))
		if got := s.list(); len(got) != 2 {
			t.Fatalf("listed %q", got)
		}
		for deadline := time.Now().Add(10 * time.Second); len(s.list()) == 2 && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond)
		}
		if got := s.list(); !slices.Equal(got, []string{kept}) {
			t.Errorf("after its time: %q, want %q", got, kept)
		}
		s.fails(1, testenv.SSHAdd, "-T", s.path("ed25519.pub"))
	})
}

// TestConfirm asks a person before each use.
func TestConfirm(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		s.added("ed25519", "-c")
		for _, c := range []struct {
			passphrase string
			status     int
			signs      bool
		}{{"", 0, true}, {"", 1, false}, {"yes\n", 0, true}, {"no\n", 0, false}} {
			s.answers(c.passphrase, c.status)
			e := s.try(testenv.SSHAdd, "-T", s.path("ed25519.pub"))
			if (e.status == 0) != c.signs {
				t.Errorf("answer %q and %d: %+v", c.passphrase, c.status, e)
			}
			asked := s.asked()
			if !strings.HasPrefix(asked, "confirm\n") || !strings.Contains(asked, "ed25519") {
				t.Errorf("asked %q", asked)
			}
		}
		// Added again without the option, it is not asked for any more.
		s.must(testenv.SSHAdd, "-q", s.path("ed25519"))
		s.answers("", 1)
		s.must(testenv.SSHAdd, "-T", s.path("ed25519.pub"))
		if asked := s.asked(); asked != "" {
			t.Errorf("asked %q", asked)
		}
	})
}

// TestLock locks the agent and unlocks it.
func TestLock(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		line := s.added("ed25519")
		s.key("ecdsa-256")
		s.answers("wrong", 0)
		s.fails(1, testenv.SSHAdd, "-X")
		s.answers("right", 0)
		s.must(testenv.SSHAdd, "-x")
		s.fails(1, testenv.SSHAdd, "-x")
		if got := s.list(); got != nil {
			t.Errorf("locked, it lists %q", got)
		}
		s.fails(1, testenv.SSHAdd, "-T", s.path("ed25519.pub"))
		s.fails(1, testenv.SSHAdd, "-q", s.path("ecdsa-256"))
		s.fails(1, testenv.SSHAdd, "-q", "-d", s.path("ed25519"))
		s.fails(1, testenv.SSHAdd, "-D")
		s.answers("wrong", 0)
		s.fails(1, testenv.SSHAdd, "-X")
		s.answers("right", 0)
		s.must(testenv.SSHAdd, "-X")
		if got := s.list(); !slices.Equal(got, []string{line}) {
			t.Errorf("unlocked, it lists %q", got)
		}
		s.must(testenv.SSHAdd, "-T", s.path("ed25519.pub"))
	})
}

// TestHardware is where a key in a device differs from one that ssh-add added.
func TestHardware(t *testing.T) {
	t.Parallel()
	h := newHardened(t)
	line := h.list()[0]
	h.write("laptop.pub", line+"\n", 0o600)
	for _, c := range []struct {
		args []string
		why  string
	}{
		{[]string{"-T", h.path("laptop.pub")}, "random octets are nothing that the key signs"},
		{[]string{"-d", h.path("laptop.pub")}, "the device still holds it"},
	} {
		if e := h.try(testenv.SSHAdd, c.args...); e.status != 1 {
			t.Errorf("%q: %+v, although %s", c.args, e, c.why)
		}
	}
	if log, err := os.ReadFile(h.path("state/sealsmith/audit.jsonl")); err != nil || !strings.Contains(string(log), `"form":"unrecognised"`) {
		t.Errorf("-T is not in the audit log: %s, %v", log, err)
	}
	h.must(testenv.SSHAdd, "-D")
	if got := h.list(); !slices.Equal(got, []string{line}) {
		t.Errorf("after -D: %q, want %q", got, line)
	}
	h.answers("secret", 0)
	h.must(testenv.SSHAdd, "-x")
	if got := h.list(); got != nil {
		t.Errorf("locked, it lists %q", got)
	}
	if signature, err := h.sign(h.public, h.data, 0); err != nil || signature != nil {
		t.Errorf("locked, it signs: %+v, %v", signature, err)
	}
	h.must(testenv.SSHAdd, "-X")
	h.serves()
}

// TestDeny has the configuration refuse software keys.
func TestDeny(t *testing.T) {
	t.Parallel()
	s := newSubject(t, ours)
	if err := os.Mkdir(s.path("config/sealsmith"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("config/sealsmith/config.yaml", "software_keys: deny\n", 0o600)
	s.start()
	s.key("ed25519")
	s.fails(1, testenv.SSHAdd, "-q", s.path("ed25519"))
	if got := s.list(); got != nil {
		t.Errorf("listed %q", got)
	}
}
