package sshtest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// Server is a running sshd.
type Server struct {
	Port           int
	User           string
	KnownHosts     string // file with the server's host key
	AuthorizedKeys string // file of those who may log in
	dir            string
	log            lockedBuffer
}

// Start starts an sshd that lets the given public key lines in, with more lines of
// configuration. It stops with the test.
func Start(t testing.TB, authorizedKeys []byte, config ...string) *Server {
	t.Helper()
	sshd := testenv.Need(t, testenv.SSHD)
	keygen := testenv.Need(t, testenv.SSHKeygen)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		// Where sshd confines its network process; started as root, it
		// refuses to run without.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &Server{User: me.Username, dir: testenv.SocketDir(t)}
	host := filepath.Join(s.dir, "host")
	if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", host).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	s.AuthorizedKeys = s.write(t, "authorized_keys", authorizedKeys)
	for range 5 {
		if s.start(t, sshd, host, strings.Join(config, "\n")) {
			return s
		}
	}
	t.Fatalf("sshd does not start:\n%s", s.log.String())
	return nil
}

// start tries one free port; another process may take it first.
func (s *Server) start(t testing.TB, sshd, host, more string) bool {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Port = free.Addr().(*net.TCPAddr).Port
	free.Close()
	config := s.write(t, "config", fmt.Appendf(nil, `ListenAddress 127.0.0.1:%d
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
AuthenticationMethods publickey
MaxStartups 200
%s
`, s.Port, host, s.AuthorizedKeys, more))
	cmd := exec.Command(sshd, "-D", "-e", "-f", config)
	cmd.Stderr = &s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })

	address := fmt.Sprintf("127.0.0.1:%d", s.Port)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		select {
		case <-ended:
			return false
		default:
		}
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			pub, err := os.ReadFile(host + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			s.KnownHosts = s.write(t, "known_hosts", fmt.Appendf(nil, "[127.0.0.1]:%d %s", s.Port, pub))
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// Args are the arguments of an ssh client that logs in here and uses nothing of
// the user's own configuration; append the remote command.
func (s *Server) Args() []string {
	return []string{
		"-F", "none", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=" + s.KnownHosts,
		"-p", fmt.Sprint(s.Port), s.User + "@127.0.0.1",
	}
}

// Login runs a command over ssh with the keys of an agent's socket and returns
// what it printed.
func (s *Server) Login(t testing.TB, socket string, command ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testenv.Need(t, testenv.SSH), append(s.Args(), command...)...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	return cmd.CombinedOutput()
}

// Log is what the server printed.
func (s *Server) Log() string { return s.log.String() }

func (s *Server) write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// lockedBuffer takes the output of a process while others read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
