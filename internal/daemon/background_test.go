package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// noPID is no process, and unlike 0 and less no group of them.
const noPID = 1 << 30

// ran is how a program that may have started an agent ended.
type ran struct {
	out, err string
	status   int
	socket   string
	pid      int
}

var (
	socketLine = regexp.MustCompile(`SSH_AUTH_SOCK[= ]([^;\n]+)`)
	pidLine    = regexp.MustCompile(`(?:SSH_AGENT_PID[= ]|Agent pid )(\d+)`)
)

// ssh runs an ssh-agent: ours if program is empty. What it starts in the
// background ends with the test.
func (h *home) ssh(t *testing.T, program string, env []string, args ...string) ran {
	t.Helper()
	cmd := h.command(t, args...)
	if program != "" {
		cmd = exec.CommandContext(t.Context(), program, args...)
	}
	cmd.Env = slices.Concat(h.env, env) // not append: subtests run at the same time
	cmd.Dir = h.dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	// It must not wait for what runs in the background.
	cmd.WaitDelay = 20 * time.Second
	err := cmd.Run()
	r := ran{out: out.String(), err: errs.String(), pid: noPID}
	if r.status = exitCode(err); err == nil {
		r.status = 0
	} else if r.status < 0 {
		t.Fatalf("%s %q: %v", program, args, err)
	}
	if m := socketLine.FindStringSubmatch(r.out); m != nil {
		r.socket = m[1]
	}
	if m := pidLine.FindStringSubmatch(r.out); m != nil {
		r.pid, _ = strconv.Atoi(m[1])
		t.Cleanup(func() {
			// Without its socket it is about to remove its folder, and to end.
			if _, err := os.Lstat(r.socket); err == nil {
				syscall.Kill(r.pid, syscall.SIGKILL)
			}
		})
	}
	return r
}

// general replaces what differs between two agents that print the same.
func (r ran) general() string {
	out := r.out
	if r.socket != "" {
		out = strings.ReplaceAll(out, r.socket, "SOCKET")
	}
	if r.pid != noPID {
		out = strings.ReplaceAll(out, strconv.Itoa(r.pid), "PID")
	}
	return fmt.Sprintf("%sstatus %d, stderr %t", out, r.status, r.err != "")
}

func waitGone(t *testing.T, path string) {
	t.Helper()
	for range 500 {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%s is still there", path)
}

// serves asks an agent for its keys.
func serves(t *testing.T, socket string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	if _, err := sshagent.NewClient(conn).List(); err != nil {
		t.Error(err)
	}
}

// TestLikeSSHAgent gives ssh-agent and ours the same command lines.
func TestLikeSSHAgent(t *testing.T) {
	t.Parallel()
	theirs := testenv.Need(t, testenv.SSHAgent)
	testenv.Need(t, testenv.SWTPM)
	h := newHome(t)
	h.write(t, "there", "precious", 0o644)
	h.write(t, "session", `echo "$0 $# $2"; exit 3`, 0o755) // as ~/.xsession often is
	t.Cleanup(func() {                                      // when all subtests are done
		if data, err := os.ReadFile(filepath.Join(h.dir, "there")); err != nil || string(data) != "precious" {
			t.Errorf("the file in the way is now %q, %v", data, err)
		}
		// An agent that has removed its socket is about to remove its folder.
		eventually(t, "an empty runtime folder", func() bool { return len(h.runtime(t)) == 0 })
	})
	for name, c := range map[string]struct {
		args string
		env  []string
	}{
		"sh":               {args: "-s"},
		"csh":              {args: "-c"},
		"by SHELL":         {env: []string{"SHELL=/bin/sh"}},
		"by csh SHELL":     {env: []string{"SHELL=/bin/tcsh"}},
		"sh in spite":      {args: "-s", env: []string{"SHELL=/bin/tcsh"}},
		"lifetime":         {args: "-s -t 1h30m"},
		"options":          {args: "-s -E sha256 -O no-restrict-websafe -P /usr/lib/*"},
		"place":            {args: "-s -a " + h.dir + "/s"},
		"joined":           {args: "-sa" + h.dir + "/joined"},
		"both shells":      {args: "-s -c"},
		"unknown":          {args: "-X"},
		"bad lifetime":     {args: "-t 5x"},
		"command in csh":   {args: "-c true"},
		"command in sh":    {args: "-s true"},
		"command in front": {args: "-D true"},
		"command and kill": {args: "-k true"},
		"place taken":      {args: "-a there"},
		"no folder":        {args: "-a nowhere/s"},
		"no agent":         {args: "-k", env: []string{"SSH_AGENT_PID="}},
		"no PID":           {args: "-k", env: []string{"SSH_AGENT_PID=abc"}},
		"PID of all":       {args: "-k", env: []string{"SSH_AGENT_PID=-1"}},
		"PID of init":      {args: "-k", env: []string{"SSH_AGENT_PID=1"}},
		"gone PID":         {args: "-k", env: []string{"SSH_AGENT_PID=2147483647"}},
		"command":          {args: "sh -c"},
		"no command":       {args: "./nonsense"},
		"no interpreter":   {args: "./session a 'b"},
		"no program":       {args: "./there"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(c.args)
			if name == "command" {
				args = append(args, `echo "SSH_AUTH_SOCK=$SSH_AUTH_SOCK"; echo "Agent pid $SSH_AGENT_PID"; test -S "$SSH_AUTH_SOCK" && exit 7`)
			}
			var got [2]string
			for i, program := range []string{theirs, ""} {
				r := h.ssh(t, program, c.env, args...)
				got[i] = r.general()
				if r.socket == "" {
					continue
				}
				if name == "command" {
					if program == "" { // theirs takes 10 seconds
						waitGone(t, r.socket)
					}
					continue
				}
				serves(t, r.socket)
				if info, err := os.Lstat(r.socket); err != nil || info.Mode() != fs.ModeSocket|0o600 {
					t.Errorf("%q: %v, %v", program, info, err)
				}
				if err := syscall.Kill(r.pid, syscall.SIGTERM); err != nil {
					t.Error(err)
				}
				waitGone(t, r.socket)
			}
			if got[0] != got[1] {
				t.Errorf("%q\nssh-agent: %s\nours: %s", c.args, got[0], got[1])
			}
		})
	}
}
