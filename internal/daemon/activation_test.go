package daemon

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// handed makes sockets as a service manager does: unix:NAME or tcp.
func (h *home) handed(t *testing.T, specs ...string) []*os.File {
	t.Helper()
	var files []*os.File
	for _, spec := range specs {
		var l net.Listener
		var err error
		if name, ok := strings.CutPrefix(spec, "unix:"); ok {
			l, err = net.Listen("unix", filepath.Join(h.dir, name))
			if err == nil {
				l.(*net.UnixListener).SetUnlinkOnClose(false)
			}
		} else {
			l, err = net.Listen("tcp", "127.0.0.1:0")
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		file, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		files = append(files, file)
	}
	return files
}

// activate starts an agent with sockets that were made for it.
func (h *home) activate(t *testing.T, names string, files []*os.File, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	self := h.command(t).Path
	cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, self}, args...)...)
	cmd.Env = append(h.env, "LISTEN_FDS="+string(rune('0'+len(files))), "LISTEN_FDNAMES="+names, "NOTIFY_SOCKET="+filepath.Join(h.dir, "notify"))
	cmd.ExtraFiles = files
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// notified listens to what a service tells.
func (h *home) notified(t *testing.T) func() string {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(h.dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func() string {
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
}

// TestManagers are service managers that cannot be reached from the sandbox, that do not
// listen, or that are not there.
func TestManagers(t *testing.T) {
	t.Parallel()
	receive := func(name string) *net.UnixConn {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	h := newHome(t)
	abstract := fmt.Sprintf("@sealsmith-test-%d", os.Getpid())
	told := receive(abstract)
	deaf := filepath.Join(h.dir, "deaf")
	receive(deaf)
	fill, err := net.Dial("unixgram", deaf)
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for err == nil {
		fill.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		_, err = fill.Write([]byte("x"))
	}
	for path, warns := range map[string]bool{abstract: false, deaf: true, filepath.Join(h.dir, "missing"): true, "@": true, "": false} {
		cmd, out := h.activate(t, "ssh", h.handed(t, "unix:s"), "-D")
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		serves(t, filepath.Join(h.dir, "s"))
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || strings.Contains(out.String(), "service manager") != warns {
			t.Errorf("%q: %v\n%s", path, err, out)
		}
		if err := os.Remove(filepath.Join(h.dir, "s")); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		buf := make([]byte, 20)
		told.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := told.Read(buf); err != nil || string(buf[:n]) != want {
			t.Errorf("%q, %v; want %q", buf[:n], err, want)
		}
	}
}

func TestActivation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names   string
		specs   []string
		ssh     string // where it is served, in the home or the runtime folder
		control string
		args    string
	}{
		{"control:ssh", []string{"unix:c", "unix:s"}, "s", "c", ""},
		{"ssh", []string{"unix:s"}, "s", "elsewhere/control.sock", "--control elsewhere/control.sock"},
		{"sealsmith-agent.socket", []string{"unix:s"}, "s", "", ""},
		{"", []string{"unix:s"}, "s", "", ""},
		{"control", []string{"unix:c"}, "", "c", ""},
	} {
		t.Run(c.names, func(t *testing.T) {
			h := newHome(t)
			told := h.notified(t)
			elsewhere := filepath.Join(h.dir, "elsewhere")
			if err := os.Mkdir(elsewhere, 0o700); err != nil {
				t.Fatal(err)
			}
			cmd, out := h.activate(t, c.names, h.handed(t, c.specs...), append(strings.Fields(c.args), "-D")...)
			cmd.Dir = h.dir
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if state := told(); state != "READY=1" {
				t.Errorf("told %q", state)
			}
			ssh, control := h.socket("ssh.sock"), h.socket("control.sock")
			if c.ssh != "" {
				ssh = filepath.Join(h.dir, c.ssh)
			}
			if c.control != "" {
				control = filepath.Join(h.dir, c.control)
			}
			serves(t, ssh)
			if client, err := agent.Dial(t.Context(), control); err != nil {
				t.Error(err)
			} else {
				client.Close()
			}
			cmd.Process.Signal(syscall.SIGTERM)
			if state := told(); state != "STOPPING=1" {
				t.Errorf("told %q", state)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("ended with %v:\n%s", err, out)
			}
			if strings.Contains(out.String(), "SSH_AUTH_SOCK=") {
				t.Errorf("printed:\n%s", out)
			}
			for _, spec := range c.specs {
				if _, err := os.Lstat(filepath.Join(h.dir, strings.TrimPrefix(spec, "unix:"))); err != nil {
					t.Errorf("a socket of somebody else's: %v", err)
				}
			}
			if left := h.runtime(t); len(left) > 0 {
				t.Errorf("left %q", left)
			}
			if left, err := os.ReadDir(elsewhere); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}

// TestNotifyInBackground: the service is that of the program which starts an agent, and
// does not end with the agent.
func TestNotifyInBackground(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	told := h.notified(t)
	manager := filepath.Join(h.dir, "notify")
	r := h.ssh(t, "", []string{"NOTIFY_SOCKET=" + manager}, "-s")
	syscall.Kill(r.pid, syscall.SIGTERM)
	waitGone(t, filepath.Dir(r.socket))
	conn, err := net.Dial("unixgram", manager)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("nothing")); err != nil {
		t.Fatal(err)
	}
	if state := told(); state != "nothing" {
		t.Errorf("told %q", state)
	}
}

func TestBadActivation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		names string
		specs []string
		want  string
	}{
		{"ssh:web", []string{"unix:s", "unix:w"}, `named "web"`},
		{"ssh:ssh", []string{"unix:s", "unix:w"}, `two handed-over sockets are named "ssh"`},
		{":", []string{"unix:s", "unix:w"}, `named "LISTEN_FD_3"`},
		{"ssh", []string{"tcp"}, "no unix stream socket that listens"},
		{"ssh:control", []string{"unix:s", "tcp"}, "no unix stream socket that listens"},
	} {
		h := newHome(t)
		cmd, out := h.activate(t, c.names, h.handed(t, c.specs...), "-D")
		if err := cmd.Run(); exitCode(err) != exitFailed || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: %v, %s; want %q", c.names, err, out, c.want)
		}
	}
	h := newHome(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd, out := h.activate(t, "ssh", []*os.File{null}, "-D")
	if err := cmd.Run(); exitCode(err) != exitFailed || !strings.Contains(out.String(), `handed-over descriptor "ssh"`) {
		t.Errorf("a descriptor that is no socket: %v, %s", err, out)
	}
	for _, text := range []string{"99999999", "3", "-1", "1x", "", "99999999999999999999"} {
		cmd, out = h.activate(t, "ssh", nil, "-D")
		cmd.Env = append(cmd.Env, "LISTEN_FDS="+text)
		if err := cmd.Run(); exitCode(err) != exitFailed || !strings.Contains(out.String(), `"`+text+`" handed-over sockets`) {
			t.Errorf("LISTEN_FDS=%s: %v, %.500s", text, err, out)
		}
	}
}

// TestNoListener hands over sockets on which nobody can be accepted.
func TestNoListener(t *testing.T) {
	t.Parallel()
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		fds, err := unix.Socketpair(unix.AF_UNIX, kind, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
		defer ours.Close()
		defer theirs.Close()
		cmd, out := newHome(t).activate(t, "ssh", []*os.File{theirs}, "-D")
		if err := cmd.Run(); exitCode(err) != exitFailed || !strings.Contains(out.String(), "no unix stream socket that listens") || strings.Contains(out.String(), "started") {
			t.Errorf("type %d: %v, %s", kind, err, out)
		}
	}
}

// TestSocketActivate lets systemd's own program hand the sockets over.
func TestSocketActivate(t *testing.T) {
	t.Parallel()
	program := testenv.Need(t, testenv.SystemdSocketActivate)
	h := newHome(t)
	ssh, control := filepath.Join(h.dir, "s"), filepath.Join(h.dir, "c")
	var settings []string
	for _, entry := range h.env {
		settings = append(settings, "-E", entry)
	}
	args := append(settings, "--fdname=ssh:control", "-l", ssh, "-l", control, h.command(t).Path, "-D")
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = h.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if _, err := os.Lstat(control); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	serves(t, ssh)
	client, err := agent.Dial(t.Context(), control)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	status, err := client.Status(t.Context())
	if err != nil || status.PID != cmd.Process.Pid {
		t.Errorf("%+v, %v; we started %d", status, err, cmd.Process.Pid)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}
