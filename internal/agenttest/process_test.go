package agenttest

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestDefaultLifetime gives the agent the lifetime of keys that are added without
// one.
func TestDefaultLifetime(t *testing.T) {
	t.Parallel()
	for _, name := range []string{openSSH, ours} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, name, "-t", "1")
			s.added("ed25519")
			kept := s.added("ecdsa-256", "-t", "1h")
			for deadline := time.Now().Add(10 * time.Second); len(s.list()) == 2 && time.Now().Before(deadline); {
				time.Sleep(50 * time.Millisecond)
			}
			if got := s.list(); !slices.Equal(got, []string{kept}) {
				t.Errorf("after its time: %q, want %q", got, kept)
			}
		})
	}
}

// TestDrop tells the agent to forget its keys.
func TestDrop(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		s.added("ed25519")
		if err := s.agent.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		want := ended{1, "The agent has no identities.\n", ""}
		if major, _ := opensshVersion(t); s.name == openSSH && major < 10 {
			want = ended{2, "", "Error connecting to agent: Connection refused\n"} // it knows no such signal
		}
		var got ended
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if got = s.try(testenv.SSHAdd, "-l"); got == want {
				return
			}
		}
		t.Errorf("%+v, want %+v", got, want)
	})
}
