package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

// askingPinentry is a pinentry that logs what it is told, and that it is asked to
// leave. It answers at once, or, with a file of that name beside it, never.
const askingPinentry = `#!/bin/sh
trap 'echo withdrawn >>"$0.log"; exit' TERM
echo pid $$ >>"$0.log"
echo OK
while read -r line; do
	printf '%s\n' "$line" >>"$0.log"
	case $line in GETPIN)
		while [ -e "$0.hang" ]; do sleep 0.05; done
		echo D 27182;;
	esac
	echo OK
done
`

// asked is an agent with a key that has a PIN, and the log of its pinentry.
type asked struct {
	*home
	agent    *exec.Cmd
	client   *agent.Client
	key      key.StructuredSigner
	pinentry string
}

func newAsked(t *testing.T, env ...string) *asked {
	t.Helper()
	testenv.Need(t, testenv.SWTPM)
	a := &asked{home: newHome(t)}
	a.env = append(a.env, env...)
	a.pinentry = a.write(t, "pinentry", askingPinentry, 0o700)
	return a
}

// begin starts the agent with a configuration.
func (a *asked) begin(t *testing.T, config string) {
	t.Helper()
	a.write(t, "CONFIG_HOME/sealsmith/config.yaml", config, 0o600)
	a.agent = a.start(t)
	var err error
	if a.client, err = agent.Dial(t.Context(), a.socket("control.sock")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.client.Close() })
	in, err := a.client.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256, PIN: keytest.Lend([]byte("27182"))})
	if err != nil {
		t.Fatal(err)
	}
	if a.key, err = a.client.Key(t.Context(), key.Ref{ID: in.ID}, ""); err != nil {
		t.Fatal(err)
	}
}

func (a *asked) sign(ctx context.Context) error {
	_, err := a.key.SignSSHSIG(ctx, "file", "sha256", make([]byte, 32))
	return err
}

// hang has the pinentry answer no more.
func (a *asked) hang(t *testing.T) { a.write(t, "pinentry.hang", "", 0o600) }

func (a *asked) log() string {
	data, err := os.ReadFile(a.pinentry + ".log")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	return string(data)
}

// children are the processes that a process started.
func children(t *testing.T, pid int) (all []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(lists) == 0 {
		t.Fatalf("children of %d: %v", pid, err)
	}
	var data []byte
	for _, path := range lists { // one for each thread
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, text...)
	}
	for _, field := range strings.Fields(string(data)) {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}

func gone(pid int) func() bool {
	return func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
}

// TestAsker: the prompt says which processes ask.
func TestAsker(t *testing.T) {
	t.Parallel()
	a := newAsked(t)
	a.begin(t, "pinentry: "+a.pinentry+"\n")
	if err := a.sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`Asked by (not verified): "%d %s, %d `, os.Getpid(), self, os.Getppid())
	if !strings.Contains(a.log(), want) {
		t.Errorf("pinentry was told\n%s\nwithout %s", a.log(), want)
	}
}

// TestWithdrawnThroughHelper: a client that goes away takes its prompt with it.
func TestWithdrawnThroughHelper(t *testing.T) {
	t.Parallel()
	a := newAsked(t)
	a.hang(t)
	a.begin(t, "pinentry: "+a.pinentry+"\n")
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- a.sign(ctx) }()
	eventually(t, "a prompt", func() bool { return strings.Contains(a.log(), "GETPIN") })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	eventually(t, "its end", func() bool { return strings.Contains(a.log(), "withdrawn") })
	if err := os.Remove(a.pinentry + ".hang"); err != nil {
		t.Fatal(err)
	}
	if err := a.sign(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestReloadPinentry: who asks follows the configuration, which names a file that need not
// be absolute for the agent to find it again.
func TestReloadPinentry(t *testing.T) {
	t.Parallel()
	a := newAsked(t, "SEALSMITH_CONFIG=CONFIG_HOME/sealsmith/config.yaml")
	a.begin(t, "pinentry: /nonexistent/pinentry\n")
	if err := a.sign(t.Context()); !errors.Is(err, key.ErrDenied) {
		t.Errorf("without a pinentry: %v", err)
	}
	a.write(t, "CONFIG_HOME/sealsmith/config.yaml", "pinentry: 7\nnonsense: 1\n", 0o600)
	if _, err := a.client.Reload(t.Context()); err == nil {
		t.Error("took a bad configuration")
	}
	a.write(t, "CONFIG_HOME/sealsmith/config.yaml", "pinentry: "+a.pinentry+"\n", 0o600)
	if _, err := a.client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.sign(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestHelperIsKilled: the agent goes on without a helper, and says what is wrong.
func TestHelperIsKilled(t *testing.T) {
	t.Parallel()
	a := newAsked(t)
	a.begin(t, "pinentry: "+a.pinentry+"\n")
	all := children(t, a.agent.Process.Pid)
	if len(all) != 1 {
		t.Fatalf("the agent has the children %v", all)
	}
	if err := syscall.Kill(all[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := a.sign(t.Context())
	if !errors.Is(err, key.ErrDenied) && !errors.Is(err, key.ErrNoDevice) || !strings.Contains(err.Error(), "lost its helper") {
		t.Errorf("%v", err)
	}
	if _, err := a.client.Status(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the end of the helper", gone(all[0]))
	if err := a.agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := a.agent.Wait(); exitCode(err) != exitTerminated {
		t.Errorf("agent ended with %v", err)
	}
}

// TestHelperHangs: the agent ends although its helper stays, which the sandbox forbids
// it to kill.
func TestHelperHangs(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	cmd := h.start(t)
	all := children(t, cmd.Process.Pid)
	if len(all) != 1 {
		t.Fatalf("the agent has the children %v", all)
	}
	if err := syscall.Kill(all[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(all[0], syscall.SIGCONT) // it has our standard error
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(2*limits.HelperExit, func() { cmd.Process.Kill() })
	defer late.Stop()
	if state, err := cmd.Process.Wait(); err != nil || state.ExitCode() != exitTerminated {
		t.Errorf("agent ended with %v, %v", state, err)
	}
}

// TestAgentIsKilled: nothing of an agent that is killed stays.
func TestAgentIsKilled(t *testing.T) {
	t.Parallel()
	a := newAsked(t)
	a.hang(t)
	a.begin(t, "pinentry: "+a.pinentry+"\n")
	go a.sign(t.Context())
	eventually(t, "a prompt", func() bool { return strings.Contains(a.log(), "GETPIN") })
	helper := children(t, a.agent.Process.Pid)
	if len(helper) != 1 {
		t.Fatalf("the agent has the children %v", helper)
	}
	// What ends a group of processes does not end the helper before the agent.
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		if err := syscall.Kill(helper[0], s); err != nil {
			t.Fatal(err)
		}
	}
	grand := children(t, helper[0])
	if len(grand) != 2 { // pinentry and swtpm
		t.Errorf("the helper has the children %v", grand)
	}
	if err := a.agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range append(grand, helper...) {
		eventually(t, fmt.Sprintf("the end of %d", pid), gone(pid))
	}
	if !strings.Contains(a.log(), "withdrawn") {
		t.Errorf("pinentry was not asked to leave:\n%s", a.log())
	}
}

func TestHelperByHand(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	for _, args := range [][]string{{helperArg}, {helperArg, "", ""}, {helperArg, "/bin/sh", "swtpm:/", "more"}} {
		if out, err := h.command(t, args...).CombinedOutput(); exitCode(err) != exitFailed || !strings.Contains(string(out), "only the agent starts a helper") {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
}

// TestAskpass has a program ask, outside of the sandbox.
func TestAskpass(t *testing.T) {
	t.Parallel()
	a := newAsked(t, "SSH_ASKPASS_REQUIRE=", "DISPLAY=", "WAYLAND_DISPLAY=", "GPG_TTY=")
	askpass := a.write(t, "askpass", "#!/bin/sh\necho \"$1\" >>\"$0.log\"\necho 27182\n", 0o700)
	a.env = append(a.env, "SSH_ASKPASS="+askpass)
	a.begin(t, "")
	if err := a.sign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(askpass + ".log"); err != nil || !strings.Contains(string(data), "Asked by (not verified): ") {
		t.Errorf("%q, %v", data, err)
	}
}

// TestAskerUnknown: a chain that cannot be followed is no reason not to ask.
func TestAskerUnknown(t *testing.T) {
	f := &fakePrompter{}
	p := &people{f, ownChain}
	if err := p.Confirm(t.Context(), agent.Question{Peer: agent.Peer{PID: 1 << 30}}); err != nil {
		t.Fatal(err)
	}
	want := prompt.Line{Label: "Asked by (not verified)", Value: "process 1073741824", Quoted: true}
	if len(f.asked.Facts) != 1 || f.asked.Facts[0] != want {
		t.Errorf("asked %+v", f.asked)
	}
}
