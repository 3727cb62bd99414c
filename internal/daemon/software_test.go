package daemon

import (
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// dialAgent connects a client that is not ours.
func (h *home) dialAgent(t *testing.T) agent.Agent {
	t.Helper()
	conn, err := net.Dial("unix", h.socket("ssh.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return agent.NewClient(conn)
}

func addSoftwareKey(t *testing.T, a agent.Agent) error {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return a.Add(agent.AddedKey{PrivateKey: &private, Comment: "soft"})
}

// TestSoftwareKeysAreDropped: SIGUSR1, and the agent goes on.
func TestSoftwareKeysAreDropped(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	cmd := h.start(t)
	a := h.dialAgent(t)
	for range 2 {
		if err := addSoftwareKey(t, a); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			keys, err := a.List()
			if err == nil && len(keys) == 0 {
				break
			}
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("still there: %v, %v", keys, err)
			}
		}
	}
}

// TestSoftwareKeysDenied: the configuration reaches the agent.
func TestSoftwareKeysDenied(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.write(t, filepath.Join("CONFIG_HOME", "sealsmith", "config.yaml"), "software_keys: deny\n", 0o600)
	h.start(t)
	if err := addSoftwareKey(t, h.dialAgent(t)); err == nil {
		t.Error("added")
	}
}

// TestLifetimeOfTheCommandLine: keys that are added without one have that of -t.
func TestLifetimeOfTheCommandLine(t *testing.T) {
	t.Parallel()
	add, keygen := testenv.Need(t, testenv.SSHAdd), testenv.Need(t, testenv.SSHKeygen)
	h := newHome(t)
	file := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("%s", out)
	}
	script := `"$1" -q "$2" && "$1" -l && n=0 && while "$1" -l >/dev/null; do n=$((n+1)); test $n -lt 500 || exit 9; sleep 0.02; done`
	cmd := h.command(t, "-t", "1", "sh", "-c", script, "sh", add, file)
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "(ED25519)") {
		t.Errorf("%v: %s", err, out)
	}
}
