package tpmtest

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/tpm"
)

// TPM is a software TPM of one test. It is safe for concurrent use.
type TPM struct {
	t      testing.TB
	state  string // folder of swtpm's state
	socket string // where clients find the proxy
	files  string // folder of locks and pins

	inFlight atomic.Bool // a client's command is being carried out
	serving  sync.WaitGroup

	mu       sync.Mutex
	child    *child // nil after Kill
	listener net.Listener
	clients  map[net.Conn]bool
	commands []tpm2.TPMCC
	stream   []byte
	faults   []*Fault
	lockout  uint32
}

var _ transport.TPM = (*TPM)(nil)

// Start starts a fresh software TPM for the test. When the test and its cleanups
// registered later are over, it fails the test if an object or a session is
// still loaded, or if the lockout counter is not the expected one.
func Start(t testing.TB) *TPM {
	t.Helper()
	return startIn(t, t.TempDir())
}

// startIn is [Start] with a TPM whose state is in a folder.
func startIn(t testing.TB, state string) *TPM {
	t.Helper()
	program := testenv.Need(t, testenv.SWTPM)
	m := &TPM{
		t: t, state: state, socket: filepath.Join(testenv.SocketDir(t), "tpm.sock"), files: t.TempDir(),
		clients: map[net.Conn]bool{},
	}
	m.start(program)
	t.Cleanup(m.finish)
	return m
}

// Device is the device string of the TPM, for other processes too.
func (m *TPM) Device() string { return "unix:" + m.socket }

// Options are those of a device on this TPM; see [Folders]. The folders are the
// same each time.
func (m *TPM) Options() tpm.Options {
	o := options(m.t, m.files)
	o.Device = m.Device()
	return o
}

// Folders are options without a device, with folders of the test's own and a log
// that goes to the test's.
func Folders(t testing.TB) tpm.Options { return options(t, t.TempDir()) }

func options(t testing.TB, dir string) tpm.Options {
	return tpm.Options{
		LockDir: filepath.Join(dir, "lock"),
		DataDir: filepath.Join(dir, "data"),
		Log:     slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// Open makes a device on this TPM, which is closed after the test.
func (m *TPM) Open() *tpm.Device {
	m.t.Helper()
	d, err := tpm.NewDevice(m.Options())
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := d.Close(); err != nil {
			m.t.Errorf("close TPM: %v", err)
		}
	})
	return d
}

// Commands returns the codes of the commands that clients sent since the last
// call, in order, and forgets them.
func (m *TPM) Commands() []tpm2.TPMCC {
	m.mu.Lock()
	defer m.mu.Unlock()
	commands := m.commands
	m.commands = nil
	return commands
}

// remember keeps what crossed the connection, for Saw. A benchmark would fill the
// memory.
func (m *TPM) remember(frame []byte) {
	if _, isBenchmark := m.t.(*testing.B); !isBenchmark {
		m.stream = append(m.stream, frame...)
	}
}

// Saw says whether the octets ever crossed the connection, in either direction.
// It is not for benchmarks.
func (m *TPM) Saw(octets []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Contains(m.stream, octets)
}

// ExpectLockout sets what the lockout counter must be at the end; without it, 0.
func (m *TPM) ExpectLockout(counter uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lockout = counter
}

// Send carries out a command past the proxy: it is not counted, remembered or
// disturbed.
func (m *TPM) Send(command []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.send(command)
}

func (m *TPM) send(command []byte) ([]byte, error) {
	if m.child == nil {
		return nil, errors.New("swtpm is not running")
	}
	if _, err := m.child.conn.Write(command); err != nil {
		return nil, err
	}
	return readFrame(m.child.conn)
}

// Kill kills swtpm as a power cut would: no shutdown, connections gone.
func (m *TPM) Kill() {
	m.t.Helper()
	m.hangUp()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.child.cmd.Process.Kill()
	m.child.stop()
	m.child = nil
}

// Restart starts swtpm again, after [TPM.Kill], with the state that it had.
func (m *TPM) Restart() { m.start(testenv.Need(m.t, testenv.SWTPM)) }

func (m *TPM) start(program string) {
	m.t.Helper()
	child, err := startChild(program, m.state)
	if err != nil {
		m.t.Fatal(err)
	}
	listener, err := net.Listen("unix", m.socket)
	if err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	m.child, m.listener = child, listener
	m.mu.Unlock()
	m.serving.Go(func() { m.accept(listener) })
}

// hangUp ends every client's connection and waits until none is served.
func (m *TPM) hangUp() {
	m.mu.Lock()
	m.listener.Close()
	for c := range m.clients {
		c.Close()
	}
	m.mu.Unlock()
	m.serving.Wait()
}

func (m *TPM) accept(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		m.clients[c] = true
		m.mu.Unlock()
		m.serving.Go(func() {
			m.serve(c)
			c.Close()
			m.mu.Lock()
			delete(m.clients, c)
			m.mu.Unlock()
		})
	}
}

// serve is the proxy for one client.
func (m *TPM) serve(c net.Conn) {
	for {
		command, err := readFrame(c)
		if err != nil {
			return
		}
		if !m.inFlight.CompareAndSwap(false, true) {
			m.t.Errorf("command %v was sent during another", codeOf(command))
			return
		}
		if !m.relay(c, command) {
			return
		}
	}
}

// relay carries out one command, unless a fault was ordered.
func (m *TPM) relay(c net.Conn, command []byte) (ok bool) {
	m.mu.Lock()
	m.commands = append(m.commands, codeOf(command))
	m.remember(command)
	fault := m.nextFault(codeOf(command))
	answer, err := m.carryOut(command, fault)
	m.mu.Unlock()
	m.inFlight.Store(false) // before the client can know
	if err != nil {
		return false
	}
	if fault != nil {
		return fault.answer(c, answer)
	}
	_, err = c.Write(answer)
	return err == nil
}

// carryOut has the TPM carry out a command, with what was ordered around it. The
// caller holds mu.
func (m *TPM) carryOut(command []byte, fault *Fault) (answer []byte, err error) {
	if fault == nil {
		answer, err = m.send(command)
		m.remember(answer)
		return answer, err
	}
	if err = fault.before(m); err == nil && fault.executes() {
		answer, err = m.send(command)
		m.remember(answer)
	}
	if err == nil {
		err = fault.after(m)
	}
	if fault.Then != nil {
		fault.Then()
	}
	return answer, err
}

// finish stops the proxy, looks at what is left in the TPM, and stops swtpm.
func (m *TPM) finish() {
	m.hangUp()
	if m.child == nil {
		return
	}
	for what, first := range map[string]tpm2.TPMHandle{"objects": 0x80000000, "sessions": 0x02000000, "policy sessions": 0x03000000} {
		handles := m.capability(tpm2.TPMCapHandles, uint32(first), 64)
		if list, err := handles.Handles(); err != nil || len(list.Handle) != 0 {
			m.t.Errorf("%s left in the TPM: %v, %v", what, list, err)
		}
	}
	if got := m.LockoutCounter(); got != m.lockout {
		m.t.Errorf("lockout counter is %d, want %d", got, m.lockout)
	}
	if _, err := (tpm2.Shutdown{ShutdownType: tpm2.TPMSUClear}).Execute(m); err != nil {
		m.t.Errorf("shut down: %v", err)
	}
	m.child.stop()
}

// LockoutCounter reads how many wrong auth values the TPM has counted.
func (m *TPM) LockoutCounter() uint32 {
	m.t.Helper()
	properties := m.capability(tpm2.TPMCapTPMProperties, uint32(tpm2.TPMPTLockoutCounter), 1)
	list, err := properties.TPMProperties()
	if err != nil || len(list.TPMProperty) != 1 {
		m.t.Fatalf("lockout counter: %v, %v", list, err)
	}
	return list.TPMProperty[0].Value
}

func (m *TPM) capability(what tpm2.TPMCap, first, count uint32) *tpm2.TPMUCapabilities {
	m.t.Helper()
	rsp, err := (tpm2.GetCapability{Capability: what, Property: first, PropertyCount: count}).Execute(m)
	if err != nil {
		m.t.Fatalf("get capability: %v", err)
	}
	return &rsp.CapabilityData.Data
}

// Count says how often a code is among commands.
func Count(commands []tpm2.TPMCC, code tpm2.TPMCC) int {
	return len(slices.DeleteFunc(slices.Clone(commands), func(c tpm2.TPMCC) bool { return c != code }))
}

// readFrame reads a command or an answer: both have a size at the same place.
func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, 10)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	size := int(frame[2])<<24 | int(frame[3])<<16 | int(frame[4])<<8 | int(frame[5])
	if size < 10 || size > 4096 {
		return nil, errors.New("bad size in a TPM frame")
	}
	frame = append(frame, make([]byte, size-10)...)
	_, err := io.ReadFull(r, frame[10:])
	return frame, err
}

func codeOf(command []byte) tpm2.TPMCC {
	return tpm2.TPMCC(command[6])<<24 | tpm2.TPMCC(command[7])<<16 | tpm2.TPMCC(command[8])<<8 | tpm2.TPMCC(command[9])
}
