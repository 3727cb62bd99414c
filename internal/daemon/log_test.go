package daemon

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// TestLogFile: the file is bounded, and no line is cut or lost before it is old.
func TestLogFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	line := append(bytes.Repeat([]byte("x"), limits.AgentLog/8), '\n')
	var wg sync.WaitGroup
	for range 2 { // agents
		l := &logFile{path: path}
		wg.Go(func() {
			for range 20 {
				if _, err := l.Write(line); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, name := range []string{path, path + ".old"} {
		data, err := os.ReadFile(name)
		if err != nil || len(data) == 0 || len(data) > limits.AgentLog+len(line) || len(data)%len(line) != 0 {
			t.Errorf("%s has %d bytes, %v", name, len(data), err)
		}
		if info, err := os.Stat(name); err == nil && info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	for what, make := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink(filepath.Join(t.TempDir(), "target"), path) },
		"dir":  func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		path := filepath.Join(t.TempDir(), what)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if _, err := (&logFile{path: path}).Write(line); err == nil {
			t.Errorf("wrote into a %s", what)
		}
	}
}

// TestUnseenLog: an agent that nobody hears logs where somebody can look, also why it did
// not start.
func TestUnseenLog(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/log"); !errors.Is(err, os.ErrNotExist) {
		t.Log("this machine has a system's log, which is not read here")
	}
	h := newHome(t)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	run := func() {
		cmd := h.command(t, "-D")
		cmd.Stderr = null
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err == nil {
			serves(t, h.socket("ssh.sock"))
			cmd.Process.Signal(syscall.SIGTERM)
		}
		cmd.Wait()
	}
	run()
	h.write(t, "CONFIG_HOME/sealsmith/config.yaml", "nonsense: 1\n", 0o600)
	run()
	data, err := os.ReadFile(filepath.Join(h.dir, "STATE_HOME/sealsmith/agent.log"))
	if errors.Is(err, os.ErrNotExist) {
		return // it went to the system's log
	}
	for _, want := range []string{"agent started", "agent ends", "agent failed", "nonsense"} {
		if err != nil || !strings.Contains(string(data), want) {
			t.Errorf("no %q in the log: %v\n%s", want, err, data)
		}
	}
}

// TestLogDetached: who started an agent and left has nothing of its log, but why it did not
// start.
func TestLogDetached(t *testing.T) {
	h := newHome(t)
	run := func() (said string, err error) {
		var stderr bytes.Buffer
		cmd := h.command(t, "-D")
		cmd.Stderr = &stderr
		socket, err := Background(t.Context(), cmd)
		if err == nil {
			serves(t, socket)
			err = cmd.Process.Signal(syscall.SIGTERM)
			cmd.Wait()
		}
		return stderr.String(), err
	}
	if said, err := run(); err != nil || said != "" {
		t.Errorf("said %q, %v", said, err)
	}
	h.write(t, "CONFIG_HOME/sealsmith/config.yaml", "nonsense: 1\n", 0o600)
	if said, err := run(); err == nil || !strings.Contains(said, "nonsense") {
		t.Errorf("said %q, %v", said, err)
	}
}
