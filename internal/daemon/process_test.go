package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runtime lists what is in the folder of the sockets.
func (h *home) runtime(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(h.socket("x")))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// TestBackground looks at the process that stays.
func TestBackground(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.ssh(t, "", nil, "-s")
	if r.status != 0 || r.err != "" {
		t.Fatalf("%+v", r)
	}
	dir := filepath.Dir(r.socket)
	if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|0o700 || filepath.Dir(dir) != filepath.Dir(h.socket("x")) {
		t.Errorf("folder %s: %v, %v", dir, info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "control.sock")); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("control socket: %v, %v", info, err)
	}
	for _, helper := range children(t, r.pid) {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", helper)); err == nil && got != "/" {
			t.Errorf("the helper's folder is %s", got)
		}
	}
	if pgid, err := syscall.Getpgid(r.pid); err != nil || pgid != r.pid {
		t.Errorf("process group %d of %d, %v", pgid, r.pid, err)
	}
	proc := fmt.Sprintf("/proc/%d/", r.pid)
	for link, want := range map[string]string{"cwd": "/", "fd/0": "/dev/null", "fd/1": "/dev/null", "fd/2": "/dev/null"} {
		// Undumpable processes show this to root alone.
		if got, err := os.Readlink(proc + link); err == nil && got != want {
			t.Errorf("%s is %s", link, got)
		}
	}
	if env, err := os.ReadFile(proc + "limits"); err == nil && !bytes.Contains(env, []byte("Max core file size        0                    0")) {
		t.Errorf("core files are allowed:\n%s", env)
	}
	for _, ignored := range []syscall.Signal{syscall.SIGINT, syscall.SIGUSR1, syscall.SIGPIPE} {
		if err := syscall.Kill(r.pid, ignored); err != nil {
			t.Fatal(err)
		}
	}
	serves(t, r.socket)

	second := h.ssh(t, "", nil, "-s")
	if second.status != 0 || second.socket == r.socket {
		t.Errorf("second agent: %+v", second)
	}
	serves(t, second.socket)
	serves(t, r.socket)
	t.Run("leaves nothing", func(t *testing.T) {
		ended := h.ssh(t, "", []string{fmt.Sprintf("SSH_AGENT_PID=%d", second.pid)}, "-k")
		want := fmt.Sprintf("unset SSH_AUTH_SOCK;\nunset SSH_AGENT_PID;\necho Agent pid %d killed;\n", second.pid)
		if ended.out != want || ended.status != 0 {
			t.Errorf("%+v; want %q", ended, want)
		}
		waitGone(t, filepath.Dir(second.socket))
	})
	t.Run("killed", func(t *testing.T) {
		if err := syscall.Kill(r.pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for refused := false; !refused; {
			conn, err := net.Dial("unix", r.socket)
			if refused = err != nil; !refused {
				conn.Close()
			}
		}
		h.ssh(t, "", nil, "-U", "true")
		if _, err := os.Stat(r.socket); err != nil {
			t.Errorf("-U: %v", err)
		}
		if u := h.ssh(t, "", nil, "-u"); u.status != 0 || u.out+u.err != "" {
			t.Errorf("-u: %+v", u)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("-u left %s (%v)", dir, err)
		}
	})
}

// TestForeground ends agents by each signal.
func TestForeground(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	for _, end := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := h.start(t)
		if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		serves(t, h.socket("ssh.sock"))
		if err := cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); exitCode(err) != exitTerminated {
			t.Errorf("%v: agent ended with %v", end, err)
		}
		if left := h.runtime(t); len(left) > 0 {
			t.Errorf("%v: left %q", end, left)
		}
	}
}

// TestForegroundInherits: neither the agent nor its helper keeps what it was started with.
func TestForegroundInherits(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd := h.command(t, "-D")
	cmd.ExtraFiles = []*os.File{write}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(cmd.Start(), write.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it serves
		t.Fatal(err)
	}
	read.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := read.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("somebody has the pipe still: %v", err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
}

// TestCommandKilled kills the command that the agent is for.
func TestCommandKilled(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	cmd := h.command(t, "sh", "-c", `echo $SSH_AUTH_SOCK; echo $SSH_AGENT_PID; echo $$; exec sleep 60`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var socket string
	var agent, shell int
	if _, err := fmt.Fscan(out, &socket, &agent, &shell); err != nil {
		t.Fatal(err)
	}
	serves(t, socket)
	if shell != cmd.Process.Pid || agent == shell {
		t.Errorf("command has the PID %d, agent %d, we started %d", shell, agent, cmd.Process.Pid)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	waitGone(t, filepath.Dir(socket))
}

// TestDescriptors: what the starting process has open is for the command alone. A lock or
// the end of a pipe would be held as long as the agent lives.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := h.command(t, "sh", "-c", `echo "$SSH_AUTH_SOCK" >&4; exec 3>&- 4>&-; exec sleep 60`)
	cmd.ExtraFiles = []*os.File{w, w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("somebody holds it: %v", err)
	}
	serves(t, strings.TrimSpace(string(text)))
}

func TestBadStart(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	open := filepath.Join(h.dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"-X", usage},
		{"-D --log-format xml", "neither text nor json"},
		{"-D --tpm floppy:1", "--tpm, SEALSMITH_TPM or tpm:"},
		{"-D --config /nonexistent", "configuration"},
		{"-D -a " + open + "/s", "other users can replace files"},
		{"-D --control " + open + "/s", "open to other users"},
		// The process in the background says what is wrong.
		{"-s --config /nonexistent", "configuration"},
		{"-s -a " + open + "/s", "other users can replace files"},
		{"-s -a " + open + "/s", "did not start: exit status 1"},
		{"--config /nonexistent true", "configuration"},
	} {
		out, err := h.command(t, strings.Fields(c.args)...).CombinedOutput()
		if exitCode(err) != exitFailed || !strings.Contains(string(out), c.want) {
			t.Errorf("%q: %q, %v; want %q", c.args, out, err, c.want)
		}
	}
	if left := h.runtime(t); len(left) > 0 {
		t.Errorf("left %q", left)
	}
	if out, err := h.command(t, "-V").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "sealsmith-agent ") {
		t.Errorf("-V: %q, %v", out, err)
	}
	for _, text := range []string{"x", "1", "99"} {
		cmd := h.command(t, "-s")
		cmd.Env = append(cmd.Env, readyFD+"="+text)
		if out, err := cmd.CombinedOutput(); exitCode(err) != exitFailed {
			t.Errorf("%s=%s: %q, %v", readyFD, text, out, err)
		}
	}
}

// TestNobodyWaits starts what is to stay in the background, without the process that
// would print where.
func TestNobodyWaits(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	cmd := h.command(t, "-s")
	cmd.Env = append(cmd.Env, readyFD+"=3")
	cmd.ExtraFiles = []*os.File{w}
	if out, err := cmd.CombinedOutput(); exitCode(err) != exitFailed {
		t.Errorf("%q, %v", out, err)
	}
	if left := h.runtime(t); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// TestUmask starts an agent from a shell that hides nothing.
func TestUmask(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	self := h.command(t).Path
	path := filepath.Join(h.dir, "s")
	out, err := exec.CommandContext(t.Context(), "env", append(h.env, "sh", "-c", `umask 0; exec "$0" -a "$1" sh -c 'umask; stat -c %a "$SSH_AUTH_SOCK"'`, self, path)...).CombinedOutput()
	if err != nil || string(out) != "0000\n600\n" {
		t.Errorf("%q, %v", out, err)
	}
	waitGone(t, path)
}
