package daemon

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/sandbox"
)

// TestSandbox is what the log says of the sandbox, and what an agent with that setting
// can read when it is to read its configuration anew.
func TestSandbox(t *testing.T) {
	t.Parallel()
	abi, err := llsys.LandlockGetABIVersion()
	if err != nil {
		abi = 0
	}
	sandboxed := "the sandbox is incomplete"
	switch {
	case abi == 0:
		sandboxed = "no sandbox"
	case abi >= sandbox.Wanted:
		sandboxed = "sandboxed"
	}
	for _, c := range []struct {
		setting, log string
		starts, bars bool
	}{
		{"", sandboxed, true, abi > 0},
		{"sandbox: off\n", "the sandbox is switched off", true, false},
		{"sandbox: require\n", cmp.Or(map[bool]string{true: "sandboxed"}[abi >= sandbox.Wanted], "is too weak"), abi >= sandbox.Wanted, true},
	} {
		t.Run(strings.TrimSpace(c.setting), func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			// As those who keep their settings in one place link to them.
			h.write(t, "elsewhere/config", c.setting, 0o600)
			h.write(t, "barred/config", c.setting, 0o600)
			file := filepath.Join(h.dir, "CONFIG_HOME/sealsmith/config.yaml")
			link := func(name string) {
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(filepath.Join(h.dir, name), file+".new"); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(file+".new", file); err != nil {
					t.Fatal(err)
				}
			}
			link("elsewhere/config")
			cmd := h.command(t, "-D")
			var log bytes.Buffer
			cmd.Stderr = &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if c.starts {
				tryReload(t, h, cmd.Process.Pid, func() { link("barred/config") }, c.bars)
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			want := map[bool]int{true: exitTerminated, false: exitFailed}[c.starts]
			if err := cmd.Wait(); exitCode(err) != want || !strings.Contains(log.String(), c.log) {
				t.Errorf("%v, log:\n%s", err, log.String())
			}
		})
	}
}

// tryReload has an agent read its configuration anew, replaced in its folder, and then
// by another one that is linked to it.
func tryReload(t *testing.T, h *home, pid int, relink func(), barred bool) {
	t.Helper()
	var client *agent.Client
	eventually(t, "its sockets", func() (done bool) {
		var err error
		client, err = agent.Dial(t.Context(), h.socket("control.sock"))
		return err == nil
	})
	defer client.Close()
	for _, pattern := range []string{`(?m)^NoNewPrivs:\s+1$`, `(?m)^Umask:\s+0077$`} {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || !regexp.MustCompile(pattern).Match(status) {
			t.Errorf("%v: no %s in\n%s", err, pattern, status)
		}
	}
	elsewhere := filepath.Join(h.dir, "elsewhere/config")
	data, err := os.ReadFile(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(elsewhere, append(data, "keys: {}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Reload(t.Context()); err != nil {
		t.Errorf("a file that was replaced: %v", err)
	}
	relink()
	if _, err := client.Reload(t.Context()); barred != (err != nil) || err != nil && !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a file out of reach: %v", err)
	}
}
