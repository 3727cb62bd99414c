package daemon

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

// The test binary is also the agent: this variable makes it one.
const role = "SEALSMITH_TEST_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(role) != "" {
		os.Exit(Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// fakePrompter answers with an error or the PIN "1234".
type fakePrompter struct {
	err   error
	asked prompt.Prompt
}

func (f *fakePrompter) Confirm(_ context.Context, p prompt.Prompt) error {
	f.asked = p
	return f.err
}

func (f *fakePrompter) PIN(_ context.Context, p prompt.Prompt) (*secret.Buffer, error) {
	f.asked = p
	if f.err != nil {
		return nil, f.err
	}
	return secret.Read(strings.NewReader("1234"), 4)
}

func TestPeople(t *testing.T) {
	other := errors.New("other")
	for _, c := range []struct{ err, want error }{
		{nil, nil}, {prompt.ErrCancelled, key.ErrDenied}, {prompt.ErrUnavailable, key.ErrDenied}, {other, other},
	} {
		f := &fakePrompter{err: c.err}
		p := &people{f, ownChain}
		q := agent.Question{Title: "t", Error: "e", Facts: []agent.Fact{{Label: "l", Value: "v"}}, Claims: []agent.Fact{{Label: "c", Value: "w"}}}
		lent := ""
		err := p.PIN(t.Context(), q, func(pin []byte) error { lent = string(pin); return nil })
		if !errors.Is(err, c.want) || (err == nil) != (lent == "1234") {
			t.Errorf("%v: PIN %q, %v", c.err, lent, err)
		}
		if err := p.Confirm(t.Context(), q); !errors.Is(err, c.want) {
			t.Errorf("%v: confirm %v", c.err, err)
		}
		if a := f.asked; a.Title != "t" || a.Error != "e" || a.Facts[0] != (prompt.Line{Label: "l", Value: "v"}) || a.Claims[0].Value != "w" {
			t.Errorf("asked %+v", a)
		}
	}
	f := &fakePrompter{}
	if err := (&people{f, ownChain}).PIN(t.Context(), agent.Question{}, func([]byte) error { return other }); err != other {
		t.Errorf("the device's error became %v", err)
	}
}

// home is a user's folders.
type home struct {
	dir string
	env []string
}

func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{dir: testenv.SocketDir(t)}
	h.env = append(os.Environ(), role+"=1", "GORACE=atexit_sleep_ms=0", "SEALSMITH_CONFIG=", "SEALSMITH_TPM=swtpm:"+filepath.Join(h.dir, "tpm"))
	for _, name := range []string{"CONFIG_HOME", "DATA_HOME", "STATE_HOME", "RUNTIME_DIR"} {
		dir := filepath.Join(h.dir, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		h.env = append(h.env, "XDG_"+name+"="+dir)
	}
	return h
}

func (h *home) socket(name string) string {
	return filepath.Join(h.dir, "RUNTIME_DIR", "sealsmith", name)
}

func (h *home) write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *home) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = h.env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// start starts the agent and waits until it said where it is.
func (h *home) start(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := h.command(t, "-D")
	cmd.Dir = h.dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("agent:\n%s", stderr.String())
		}
	})
	lines := bufio.NewReader(out)
	first, _ := lines.ReadString('\n')
	second, err := lines.ReadString('\n')
	want := fmt.Sprintf("SSH_AUTH_SOCK=%s; export SSH_AUTH_SOCK;\necho Agent pid %d;\n", h.socket("ssh.sock"), cmd.Process.Pid)
	if err != nil || first+second != want {
		t.Fatalf("agent printed %q, %v; want %q", first+second, err, want)
	}
	return cmd
}

// TestAgent goes from the configuration through pinentry to the TPM and back.
func TestAgent(t *testing.T) {
	testenv.Need(t, testenv.SWTPM)
	h := newHome(t)
	asked := filepath.Join(h.dir, "asked")
	pinentry := h.write(t, "pinentry", `#!/bin/sh
echo OK
while read -r line; do
	printf '%s\n' "$line" >>`+asked+`
	case $line in GETPIN) echo D 27182;; esac
	echo OK
done
`, 0o700)
	h.write(t, "CONFIG_HOME/sealsmith/config.yaml", "pinentry: "+pinentry+"\n", 0o600)
	cmd := h.start(t)
	c, err := agent.Dial(t.Context(), h.socket("control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in, err := c.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256, PIN: keytest.Lend([]byte("27182"))})
	if err != nil {
		t.Fatal(err)
	}
	k, err := c.Key(t.Context(), key.Ref{ID: in.ID}, "a file")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := k.SignSSHSIG(t.Context(), "file", "sha256", make([]byte, 32)); err != nil {
			t.Fatal(err)
		}
	}
	told, err := os.ReadFile(asked)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(told), "GETPIN"); n != 1 || !strings.Contains(string(told), `The program says:%0ASubject: "a file"`) {
		t.Errorf("pinentry was asked %d times:\n%s", n, told)
	}
	if d, err := c.Device(t.Context()); err != nil || !strings.HasPrefix(d.Device, "swtpm:") {
		t.Errorf("device %+v, %v", d, err)
	}
	conn, err := net.Dial("unix", h.socket("ssh.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if keys, err := sshagent.NewClient(conn).List(); err != nil || len(keys) != 1 {
		t.Errorf("SSH socket lists %v, %v", keys, err)
	}
	t.Run("second agent", func(t *testing.T) {
		out, err := h.command(t, "-D").CombinedOutput()
		if exitCode(err) != exitFailed || !strings.Contains(string(out), "socket is in use") || !strings.Contains(string(out), "hint:") {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("memory is private", func(t *testing.T) {
		// Root reads everything; others must not own the files.
		if info, err := os.Stat(fmt.Sprintf("/proc/%d/mem", cmd.Process.Pid)); err == nil && os.Getuid() != 0 {
			if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 {
				t.Errorf("the agent's memory belongs to uid %d", uid)
			}
		}
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid))
		if err == nil && !strings.Contains(string(data), "Max core file size        0                    0") {
			t.Errorf("core files are allowed:\n%s", data)
		}
	})
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); exitCode(err) != exitTerminated {
		t.Errorf("agent ended with %v", err)
	}
	for _, name := range []string{"ssh.sock", "control.sock"} {
		if _, err := os.Lstat(h.socket(name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left behind (%v)", name, err)
		}
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("connection ended with %v", err)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
