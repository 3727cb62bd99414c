package daemon

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	sealsmith "github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/config"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

func (h *home) config(t *testing.T, text string) {
	t.Helper()
	h.write(t, filepath.Join("CONFIG_HOME", "sealsmith", "config.yaml"), text, 0o600)
}

// TestUpstreams: the configuration reaches the agent, which is sandboxed, and which
// refuses to be its own upstream.
func TestUpstreams(t *testing.T) {
	t.Parallel()
	theirs := newHome(t)
	theirs.start(t)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.dialAgent(t).Add(agent.AddedKey{PrivateKey: &private, Comment: "theirs"}); err != nil {
		t.Fatal(err)
	}
	pub, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	h := newHome(t)
	h.config(t, fmt.Sprintf("agents: [%s]\noffer: [\"%s\"]\n", theirs.socket("ssh.sock"), ssh.FingerprintSHA256(pub)))
	cmd := h.start(t)
	a := h.dialAgent(t)
	if keys, err := a.List(); err != nil || len(keys) != 1 || keys[0].Comment != "theirs" {
		t.Errorf("listed %v, %v", keys, err)
	}
	s, err := a.Sign(pub, []byte("x"))
	if err == nil {
		err = pub.Verify([]byte("x"), s)
	}
	if err != nil {
		t.Error(err)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	for _, name := range []string{"ssh.sock", "control.sock"} {
		h.config(t, fmt.Sprintf("agents: [%s]\n", h.socket(name)))
		if out, err := h.command(t, "-D").CombinedOutput(); err == nil || !strings.Contains(string(out), "is this agent itself") {
			t.Errorf("with itself: %v, %s", err, out)
		}
	}
}

// TestReloadKeepsAgents: the offer is read again; other agents are refused.
func TestReloadKeepsAgents(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	path := h.write(t, "config.yaml", "agents: [/none]\n", 0o600)
	started, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	read := Options{Config: path}.reload(started)
	h.write(t, "config.yaml", "agents: [/none]\noffer: [k]\n", 0o600)
	if s, err := read(); err != nil || len(s.Offer) != 1 || s.Offer[0].Ref.Name != "k" {
		t.Errorf("%+v, %v", s, err)
	}
	h.write(t, "config.yaml", "agents: [/none, /more]\n", 0o600)
	if s, err := read(); !errors.Is(err, sealsmith.ErrConfiguration) {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestOtherAgents: one that is not the default agent has software keys of its own, and
// shows none of the default agent's. That one, which has the device, signs with its keys.
func TestOtherAgents(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.SWTPM)
	h := newHome(t)
	h.start(t)
	if err := addSoftwareKey(t, h.dialAgent(t)); err != nil {
		t.Fatal(err)
	}
	client, err := sealsmith.Dial(t.Context(), h.socket("control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	in, err := client.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.command(t, "-D", "-a", h.socket("second.sock"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", h.socket("second.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a := agent.NewClient(conn)
	keys, err := a.List()
	if err != nil || len(keys) != 1 || keys[0].Comment != "k" {
		t.Fatalf("listed %v, %v", keys, err)
	}
	pub, err := ssh.NewPublicKey(in.Public)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("file"))
	data, err := sshsig.SignedData("git", "sha256", digest[:])
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.Sign(pub, data)
	if err == nil {
		err = pub.Verify(data, s)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestUpstreamsInCircle: two agents that name each other list the keys of both, and do not
// ask each other on and on.
func TestUpstreamsInCircle(t *testing.T) {
	t.Parallel()
	one, other := newHome(t), newHome(t)
	one.config(t, fmt.Sprintf("agents: [%s]\n", other.socket("ssh.sock")))
	other.config(t, fmt.Sprintf("agents: [%s]\n", one.socket("ssh.sock")))
	logs := map[*home]*bytes.Buffer{one: {}, other: {}}
	var cmds []*exec.Cmd
	for h, log := range logs {
		cmd := h.command(t, "-D")
		cmd.Stderr = log
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = out.Read(make([]byte, 1))
		}
		if err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for h := range logs {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.dialAgent(t).Add(agent.AddedKey{PrivateKey: &private}); err != nil {
			t.Fatal(err)
		}
	}
	for h := range logs {
		if keys, err := h.dialAgent(t).List(); err != nil || len(keys) != 2 {
			t.Errorf("listed %v, %v", keys, err)
		}
	}
	for _, cmd := range cmds {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	for _, log := range logs {
		if strings.Contains(log.String(), "does not answer") {
			t.Errorf("log:\n%s", log)
		}
	}
}
