package bench

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// The load under which the memory of agents is measured.
const (
	loadClients    = 200
	loadSignatures = 10_000
)

// settling is for the helper to have started, too, and for the key not to be new: for
// a moment the agent reads such a key anew at each request.
const settling = limits.TPMFolderTick + 200*time.Millisecond

// TestAgentProcess compares the program, with a key in a software TPM, with OpenSSH's
// ssh-agent, with a software key: how long they take from their start to the first
// list, and the memory that they hold then and after many signatures.
func TestAgentProcess(t *testing.T) {
	const first, memory = "agent/start", "agent/rss"
	if !wanted(first) && !wanted(memory) {
		return
	}
	const versus = "ssh-agent"
	ours, theirs := ourProcess(t), opensshProcess(t)
	if wanted(first) {
		start := func(a *process) func() float64 {
			return func() float64 {
				defer a.stop(t)
				return seconds(func() { a.start(t); a.list(t) })
			}
		}
		value, ratio := inTurns(start(ours), start(theirs))
		printFigure(first, value, "s", versus, 1/ratio)
	}
	if !wanted(memory) {
		return
	}
	for _, a := range []*process{ours, theirs} {
		a.start(t)
		defer a.stop(t)
		a.list(t)
	}
	time.Sleep(settling)
	report := func(name string, value, other float64) { printFigure(name, value, "kB", versus, other/value) }
	other := theirs.resident(t)
	report(memory+"/start", ours.resident(t), other)
	report(memory+"/start/helper", resident(t, ours.helper(t)), other)
	for _, a := range []*process{ours, theirs} {
		a.load(t)
	}
	other = theirs.resident(t)
	report(memory+"/load", ours.resident(t), other)
	report(memory+"/load/helper", resident(t, ours.helper(t)), other)
}

// process is an agent as people start it.
type process struct {
	program, dir, socket string
	env                  []string
	add                  *ecdsa.PrivateKey // to be given to it when it has started; nil: none
	cmd                  *exec.Cmd
}

// ourProcess is our program, with a key in a software TPM.
func ourProcess(t *testing.T) *process {
	t.Helper()
	a := &process{dir: testenv.SocketDir(t)}
	a.program, a.socket = filepath.Join(a.dir, "sealsmith-agent"), filepath.Join(a.dir, "s")
	if err := testenv.BuildAgent(a.program); err != nil {
		t.Fatal(err)
	}
	a.env = append(os.Environ(), "HOME="+a.dir, "SEALSMITH_TPM=swtpm:"+filepath.Join(a.dir, "tpm"), "SEALSMITH_CONFIG=")
	for name, folder := range map[string]string{"CONFIG_HOME": "config", "DATA_HOME": "data", "STATE_HOME": "state", "RUNTIME_DIR": "run"} {
		path := filepath.Join(a.dir, folder)
		a.env = append(a.env, "XDG_"+name+"="+path)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	device := newDevice(t, a.dir)
	backend, err := tpm.New(device, tpm.Config{Dir: filepath.Join(a.dir, "data", "sealsmith", "keys"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = backend.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
	if err := errors.Join(err, backend.Close(), device.Close()); err != nil {
		t.Fatal(err)
	}
	return a
}

// opensshProcess is OpenSSH's agent.
func opensshProcess(t *testing.T) *process {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := testenv.SocketDir(t)
	return &process{program: testenv.Need(t, testenv.SSHAgent), dir: dir, socket: filepath.Join(dir, "s"), env: os.Environ(), add: k}
}

// start starts the agent and waits until it serves.
func (a *process) start(t *testing.T) {
	t.Helper()
	a.cmd = exec.Command(a.program, "-D", "-a", a.socket)
	a.cmd.Env = a.env
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%s printed %q, %v", a.program, line, err)
	}
	if a.add != nil {
		err := a.client(t).Add(sshagent.AddedKey{PrivateKey: a.add})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (a *process) stop(t *testing.T) {
	t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	a.cmd.Wait() // with status 2, both of them
}

func (a *process) client(t *testing.T) sshagent.ExtendedAgent {
	t.Helper()
	conn, err := net.Dial("unix", a.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return sshagent.NewClient(conn)
}

// list returns the agent's key.
func (a *process) list(t *testing.T) ssh.PublicKey {
	t.Helper()
	keys, err := a.client(t).List()
	if err != nil || len(keys) != 1 {
		t.Fatalf("%s lists %v, %v", a.program, keys, err)
	}
	return keys[0]
}

// load has many clients get many signatures, at once.
func (a *process) load(t *testing.T) {
	t.Helper()
	public := a.list(t)
	data, err := sshsig.SignedData("git", "sha256", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	clients := make([]sshagent.ExtendedAgent, loadClients)
	for i := range clients {
		clients[i] = a.client(t)
		// OpenSSH's agent lets no more than 128 wait to be accepted.
		if _, err := clients[i].List(); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			for range loadSignatures / loadClients {
				if _, err := c.Sign(public, data); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// helper is the process that ours has ask people and start things.
func (a *process) helper(t *testing.T) (pid int) {
	t.Helper()
	// The kernel lists children by the thread that started them.
	for _, path := range testenv.Glob(t, fmt.Sprintf("/proc/%d/task/*/children", a.cmd.Process.Pid)) {
		if children, err := os.ReadFile(path); err != nil {
			t.Fatal(err)
		} else if _, err := fmt.Sscan(string(children), &pid); err == nil {
			return pid
		}
	}
	t.Fatal("no helper")
	return 0
}

func (a *process) resident(t *testing.T) float64 {
	t.Helper()
	return resident(t, a.cmd.Process.Pid)
}

// resident is the memory that a process holds, in kB.
func resident(t *testing.T, pid int) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kB float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kB); err == nil {
			return kB
		}
	}
	t.Fatalf("no memory in %q", status)
	return 0
}
