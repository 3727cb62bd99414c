package sshtest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestServer logs in with OpenSSH's own agent, and fails to without the key.
func TestServer(t *testing.T) {
	dir := testenv.SocketDir(t)
	path := filepath.Join(dir, "id")
	if out, err := exec.Command(testenv.Need(t, testenv.SSHKeygen), "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pub, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	keys := agent.NewKeyring()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(keys, conn)
		}
	}()

	s := Start(t, pub)
	if out, err := s.Login(t, socket, "echo", "welcome"); err == nil {
		t.Fatalf("an agent without keys logged in: %s", out)
	}
	add := exec.Command(testenv.Need(t, testenv.SSHAdd), "-q", path)
	add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v\n%s", err, out)
	}
	out, err := s.Login(t, socket, "echo", "welcome")
	if err != nil || string(out) != "welcome\n" {
		t.Fatalf("login: %q, %v\n%s", out, err, s.Log())
	}
}
