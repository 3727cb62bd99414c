package agenttest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// hardened is our agent with a key in a TPM, and what it took when it was new.
type hardened struct {
	*subject
	public      ssh.PublicKey
	data        []byte // what the key signs
	memory      int
	descriptors int
}

// memoryGrowth is how much more memory, in kB, the agent may hold when it is
// attacked: its budget for large messages and 16 kB for each connection, and as much
// garbage.
const memoryGrowth = 2 * (limits.AgentFrames>>10 + 16*limits.AgentConnections)

func newHardened(t *testing.T) *hardened { return newHardenedWithin(t, "") }

// newHardenedWithin is newHardened with limits that sh sets.
func newHardenedWithin(t *testing.T, within string) *hardened {
	t.Helper()
	s := newSubject(t, ours)
	s.within = within
	chip := tpmtest.Start(t)
	s.env = append(s.env, "SEALSMITH_TPM="+chip.Device())
	o := chip.Options()
	device, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := tpm.New(device, tpm.Config{Dir: s.path("data/sealsmith/keys"), Log: o.Log})
	if err != nil {
		t.Fatal(err)
	}
	made, err := backend.Create(t.Context(), key.Spec{Name: "laptop", Usage: key.SSH, Algorithm: key.P256})
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(made.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(backend.Close(), device.Close()); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("a file"))
	data, err := sshsig.SignedData("git", "sha256", sum[:])
	if err != nil {
		t.Fatal(err)
	}
	h := &hardened{subject: s, public: public, data: data}
	h.start()
	h.serves() // and has opened what it needs
	h.memory, h.descriptors = h.resident(), h.opened()
	return h
}

// serves fails the test unless the agent lists its key and signs with it.
func (h *hardened) serves() {
	h.t.Helper()
	if err := h.use(); err != nil {
		h.t.Errorf("the agent does not serve: %v", err)
	}
}

// use is what a client does.
func (h *hardened) use() error {
	conn, err := net.Dial("unix", h.socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write(list); err != nil {
		return err
	}
	answer, err := readAnswer(conn)
	if err != nil || !strings.Contains(string(answer), string(h.public.Marshal())) {
		return fmt.Errorf("listed %q: %w", answer, err)
	}
	signature, err := h.sign(h.public, h.data, 0)
	if err != nil || signature == nil {
		return fmt.Errorf("not signed: %w", err)
	}
	return h.public.Verify(h.data, signature)
}

// resident is the agent's memory in kB.
func (h *hardened) resident() (kB int) {
	h.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.agent.Process.Pid))
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kB); err == nil {
			return kB
		}
	}
	h.t.Fatalf("no memory in %q", data)
	return 0
}

// opened is how many descriptors the agent has open, as far as one may know: only root
// can look into a process that is closed to debuggers, and others count none.
func (h *hardened) opened() int {
	h.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.agent.Process.Pid))
	if errors.Is(err, fs.ErrPermission) && os.Getuid() != 0 {
		return 0
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return len(entries)
}

// unharmed fails the test unless the agent serves, holds no descriptor of those who
// have gone, and little more memory than when it was new.
func (h *hardened) unharmed() {
	h.t.Helper()
	h.serves()
	for deadline := time.Now().Add(10 * time.Second); h.opened() > h.descriptors+2 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if now := h.opened(); now > h.descriptors+2 {
		h.t.Errorf("%d descriptors, %d at the start", now, h.descriptors)
	}
	if now := h.resident(); now > h.memory+memoryGrowth {
		h.t.Errorf("%d kB of memory, %d at the start", now, h.memory)
	}
}

// crowd has 200 clients come at once.
func (h *hardened) crowd() {
	h.t.Helper()
	var crowd sync.WaitGroup
	for range 200 {
		crowd.Go(func() {
			if err := h.use(); err != nil {
				h.t.Error(err)
			}
		})
	}
	crowd.Wait()
	h.unharmed()
}

// TestCrowd serves 200 clients who come at once.
func TestCrowd(t *testing.T) {
	t.Parallel()
	newHardened(t).crowd()
}

// TestCrowdWithFewDescriptors does so where an agent may not have 200 open.
func TestCrowdWithFewDescriptors(t *testing.T) {
	t.Parallel()
	newHardenedWithin(t, "ulimit -n 64").crowd()
}

// TestDeaf has clients who ask and do not read the answers.
func TestDeaf(t *testing.T) {
	t.Parallel()
	h := newHardened(t)
	var many []byte
	for range 200_000 {
		many = append(many, list...)
	}
	var conns []net.Conn
	for range 20 {
		conn := h.dial()
		conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := conn.Write(many); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d octets of requests were taken, %v", n, err)
		}
		conns = append(conns, conn)
	}
	h.serves()
	for _, conn := range conns {
		conn.Close()
	}
	h.unharmed()
}

// TestHalfOpen has a thousand clients who say nothing, or begin to say something.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	h := newHardened(t)
	starts := [][]byte{nil, {0}, {0, 4, 0, 0}, {0, 4, 0, 0, 17, 0}, {0, 0, 0, 5, 11}}
	var conns []net.Conn
	for i := range 1000 {
		conn := h.dial()
		if start := starts[i%len(starts)]; start != nil {
			if _, err := conn.Write(start); err != nil {
				t.Fatal(err)
			}
		}
		conns = append(conns, conn)
	}
	h.serves()
	if now := h.resident(); now > h.memory+memoryGrowth {
		t.Errorf("%d kB of memory, %d at the start", now, h.memory)
	}
	for _, conn := range conns {
		conn.Close()
	}
	h.unharmed()
}

// TestBadFrames sends what no client sends: every kind with bodies that are cut, too
// long, of strings that lie about their length, or of noise.
func TestBadFrames(t *testing.T) {
	t.Parallel()
	h := newHardened(t)
	seed := uint64(time.Now().UnixNano())
	noise := rand.New(rand.NewPCG(seed, 0))
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(noise.Uint32())
		}
		return b
	}
	blob := text(string(h.public.Marshal()))
	bodies := [][]byte{
		nil, {0}, {0xff, 0xff, 0xff, 0xff}, {0x7f, 0xff, 0xff, 0xff, 0}, blob, blob[:20],
		append(append([]byte{}, blob...), text("data")...), text("ssh-ed25519"), text("session-bind@openssh.com"),
		text("restrict-destination-v00@openssh.com"), make([]byte, 4096), make([]byte, 64<<10),
	}
	for kind := range 256 {
		for _, body := range append(bodies, random(noise.IntN(100)), random(5000)) {
			if kind == 22 && len(body) > 4 {
				continue // it would lock the agent
			}
			message := frame(byte(kind), body)
			if noise.IntN(4) == 0 {
				message = message[:noise.IntN(len(message))]
			}
			conn := h.dial()
			conn.Write(message)
			conn.Close()
		}
	}
	h.unharmed()
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// TestSocketsDeleted deletes the sockets under the agent: who is connected is served
// on, another agent can take the place, and keeps it when the first one ends.
func TestSocketsDeleted(t *testing.T) {
	t.Parallel()
	h := newHardened(t)
	conn := h.dial()
	if err := errors.Join(os.Remove(h.socket), os.RemoveAll(h.path("run/sealsmith"))); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(list); err != nil {
		t.Fatal(err)
	}
	if answer, err := readAnswer(conn); err != nil || answer[0] != 12 {
		t.Errorf("connected before: %x, %v", answer, err)
	}
	if _, err := net.Dial("unix", h.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("connected to a socket that is not there: %v", err)
	}
	second := &hardened{subject: &subject{t: t, name: ours, dir: h.dir, socket: h.socket, env: h.env}, public: h.public, data: h.data}
	second.start()
	if err := h.agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state, err := h.agent.Process.Wait(); err != nil || state.ExitCode() != 2 {
		t.Errorf("the first agent ended with %v, %v\n%s", state, err, h.log.String())
	}
	if answer, err := readAnswer(conn); err == nil {
		t.Errorf("an agent that has ended answers %x", answer)
	}
	second.serves()
	if left, err := filepath.Glob(h.path("run/sealsmith/agent-*")); err != nil || len(left) != 1 {
		t.Errorf("folders %q, %v", left, err)
	}
}
