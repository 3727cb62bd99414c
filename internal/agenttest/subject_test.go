// Package agenttest runs one suite of behaviour against OpenSSH's ssh-agent and
// against sealsmith-agent, both as the processes that people run, with the clients
// that people use. Where they differ, or releases of OpenSSH do, a table says how
// and why. Then it does to sealsmith-agent what nobody should.
package agenttest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// program is the agent as it is shipped: TestMain builds it as `make build` does.
var program string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "agenttest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "sealsmith-agent")
	if err := testenv.BuildAgent(program); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// The agents that are compared.
const (
	openSSH = "ssh-agent"
	ours    = "sealsmith-agent"
)

// subject is a running agent and a user of it.
type subject struct {
	t      *testing.T
	name   string // openSSH or ours
	dir    string // the user's
	socket string
	env    []string
	within string // limits for the agent, in the language of sh
	agent  *exec.Cmd
	log    bytes.Buffer // the agent's, once it has ended
}

// askpass answers what the file beside it says, and keeps the question.
const askpass = `#!/bin/sh
dir=$(dirname "$0")
printf '%s\n' "$SSH_ASKPASS_PROMPT" "$1" >> "$dir/asked"
cat "$dir/passphrase" 2>/dev/null
exit $(cat "$dir/status")
`

// start starts an agent in the foreground, with more options. It ends with the test.
func start(t *testing.T, name string, args ...string) *subject {
	t.Helper()
	s := newSubject(t, name)
	s.start(args...)
	return s
}

// newSubject is a user whose agent does not run yet.
func newSubject(t *testing.T, name string) *subject {
	t.Helper()
	s := &subject{t: t, name: name, dir: testenv.SocketDir(t)}
	s.socket = s.path("agent")
	s.env = append(os.Environ(), "SSH_AUTH_SOCK="+s.socket, "HOME="+s.dir,
		"XDG_CONFIG_HOME="+s.path("config"), "XDG_DATA_HOME="+s.path("data"),
		"XDG_STATE_HOME="+s.path("state"), "XDG_RUNTIME_DIR="+s.path("run"),
		"SEALSMITH_TPM=swtpm:"+s.path("tpm"), "SEALSMITH_SOCKET=", "SEALSMITH_CONFIG=",
		"SSH_ASKPASS="+s.path("askpass"), "SSH_ASKPASS_REQUIRE=force", "DISPLAY=", "WAYLAND_DISPLAY=", "GPG_TTY=",
	)
	for _, dir := range []string{"run", "config"} {
		if err := os.Mkdir(s.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.write("askpass", askpass, 0o700)
	s.write("status", "1", 0o600)
	return s
}

func (s *subject) start(args ...string) {
	s.t.Helper()
	path := program
	if s.name == openSSH {
		path = testenv.Need(s.t, testenv.SSHAgent)
	}
	ctx, cancel := context.WithCancel(context.Background())
	args = append([]string{"-c", s.within + "\nexec \"$0\" \"$@\"", path, "-D", "-a", s.socket}, args...)
	s.agent = exec.CommandContext(ctx, "sh", args...)
	s.agent.Env, s.agent.Stderr = s.env, &s.log
	s.agent.Cancel = func() error { return s.agent.Process.Signal(syscall.SIGTERM) }
	s.agent.WaitDelay = 20 * time.Second
	stdout, err := s.agent.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.agent.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cancel()
		err := s.agent.Wait()
		if s.t.Failed() {
			s.t.Logf("%s ended with %v:\n%s", s.name, err, s.log.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if want := "SSH_AUTH_SOCK=" + s.socket + "; export SSH_AUTH_SOCK;\n"; err != nil || line != want {
		s.t.Fatalf("%s printed %q, %v; want %q", s.name, line, err, want)
	}
}

func (s *subject) path(name string) string { return filepath.Join(s.dir, name) }

func (s *subject) write(name, content string, mode os.FileMode) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(content), mode); err != nil {
		s.t.Fatal(err)
	}
}

// answers sets what the next questions are answered with.
func (s *subject) answers(passphrase string, status int) {
	s.t.Helper()
	s.write("passphrase", passphrase, 0o600)
	s.write("status", fmt.Sprint(status), 0o600)
	s.write("asked", "", 0o600)
}

// asked is what was asked since then.
func (s *subject) asked() string {
	s.t.Helper()
	data, err := os.ReadFile(s.path("asked"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(data)
}

// ended is how a client ended.
type ended struct {
	status   int
	out, err string
}

// try runs a client.
func (s *subject) try(p testenv.Program, args ...string) ended {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), testenv.Need(s.t, p), args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() < 0) {
		s.t.Fatalf("%s %q: %v\n%s", p, args, err, stderr.String())
	}
	return ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must runs a client that succeeds, and returns what it printed on stdout.
func (s *subject) must(p testenv.Program, args ...string) string {
	s.t.Helper()
	e := s.try(p, args...)
	if e.status != 0 {
		s.t.Fatalf("%s %q ended with %d: %s%s", p, args, e.status, e.out, e.err)
	}
	return e.out
}

// fails runs a client that ends with this status.
func (s *subject) fails(status int, p testenv.Program, args ...string) ended {
	s.t.Helper()
	e := s.try(p, args...)
	if e.status != status {
		s.t.Errorf("%s %q ended with %d, want %d: %s%s", p, args, e.status, status, e.out, e.err)
	}
	return e
}

// list is what the agent lists: the lines of ssh-add -L.
func (s *subject) list() []string {
	s.t.Helper()
	e := s.try(testenv.SSHAdd, "-L")
	if e.status == 1 && e.out == "The agent has no identities.\n" {
		return nil
	}
	if e.status != 0 {
		s.t.Fatalf("ssh-add -L: %+v", e)
	}
	return strings.Split(strings.TrimSuffix(e.out, "\n"), "\n")
}

// opensshVersion is the release of the clients and of ssh-agent, such as 9.2.
func opensshVersion(t *testing.T) (major, minor int) {
	t.Helper()
	out, err := exec.Command(testenv.Need(t, testenv.SSH), "-V").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(out), "OpenSSH_%d.%d", &major, &minor); err != nil {
		t.Fatalf("ssh -V: %q", out)
	}
	return major, minor
}
