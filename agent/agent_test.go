package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/internal/sockets"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

func TestMain(m *testing.M) {
	secret.OnLeak(func(size int) { panic(fmt.Sprintf("a secret of %d bytes was never wiped", size)) })
	os.Exit(m.Run())
}

// person is a Prompter that a test answers for.
type person struct {
	mu      sync.Mutex
	asked   []Question
	confirm func(ctx context.Context, q Question) error
	pins    []string // one for each question; the last is repeated
	pin     func(ctx context.Context, q Question) (string, error)
}

// Confirm implements [Prompter].
func (p *person) Confirm(ctx context.Context, q Question) error {
	p.mu.Lock()
	p.asked = append(p.asked, q)
	confirm := p.confirm
	p.mu.Unlock()
	if confirm == nil {
		return fmt.Errorf("no: %w", key.ErrDenied)
	}
	return confirm(ctx, q)
}

// PIN implements [Prompter].
func (p *person) PIN(ctx context.Context, q Question, use func([]byte) error) error {
	p.mu.Lock()
	p.asked = append(p.asked, q)
	ask := p.pin
	var pin string
	if len(p.pins) > 0 {
		pin = p.pins[0]
		if len(p.pins) > 1 {
			p.pins = p.pins[1:]
		}
	}
	p.mu.Unlock()
	if ask != nil {
		var err error
		if pin, err = ask(ctx, q); err != nil {
			return err
		}
	}
	if pin == "" {
		return fmt.Errorf("no: %w", key.ErrDenied)
	}
	return use([]byte(pin))
}

// questions returns what was asked since the last call.
func (p *person) questions() []Question {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

func yes(context.Context, Question) error { return nil }

// harness is a server on sockets with keys in software.
type harness struct {
	t       *testing.T
	server  *Server
	person  *person
	backend *keytest.Backend
	pins    *PINs
	audit   string // path
	ssh     string // path of the socket
	control string
	logs    *lockedBuffer
	stop    func()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements [io.Writer].
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start serves until the test ends. The change, if any, adjusts the configuration.
func start(t *testing.T, change func(*Config)) *harness {
	t.Helper()
	dir := testenv.SocketDir(t)
	h := &harness{
		t: t, person: &person{}, logs: &lockedBuffer{},
		ssh: filepath.Join(dir, "ssh.sock"), control: filepath.Join(dir, "control.sock"), audit: filepath.Join(dir, "audit.jsonl"),
	}
	h.pins = NewPINs(h.person)
	h.backend = &keytest.Backend{Auth: h.pins.Auth}
	audit, err := OpenAuditLog(h.audit)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Keys: key.NewRing(h.backend), PINs: h.pins, Device: fakeDevice{}, Audit: audit,
		Log: slog.New(slog.NewTextHandler(h.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&c)
	}
	h.server = NewServer(c)
	var serving sync.WaitGroup
	for path, serve := range map[string]func(net.Listener) error{h.ssh: h.server.ServeSSH, h.control: h.server.ServeControl} {
		l, err := sockets.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		serving.Go(func() {
			if err := serve(l); err != nil {
				t.Error(err)
			}
		})
	}
	h.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		serving.Wait()
		audit.Close()
	})
	t.Cleanup(func() {
		h.stop()
		if t.Failed() {
			t.Logf("log of the agent:\n%s", h.logs)
		}
	})
	return h
}

// key makes a key directly in the backend.
func (h *harness) key(spec key.Spec) key.Info {
	h.t.Helper()
	if spec.Algorithm == "" {
		spec.Algorithm = key.P256
	}
	s, err := h.backend.Create(h.t.Context(), spec)
	if err != nil {
		h.t.Fatal(err)
	}
	return s.Info()
}

func (h *harness) client() *Client {
	h.t.Helper()
	c, err := Dial(h.t.Context(), h.control)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

// records reads the audit log.
func (h *harness) records() []record {
	h.t.Helper()
	data, err := os.ReadFile(h.audit)
	if err != nil {
		h.t.Fatal(err)
	}
	var all []record
	for line := range strings.Lines(string(data)) {
		var r record
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil {
			h.t.Fatalf("audit line %q: %v", line, err)
		}
		all = append(all, r)
	}
	return all
}

// lastRecord is the newest line of the audit log.
func (h *harness) lastRecord() record {
	h.t.Helper()
	all := h.records()
	if len(all) == 0 {
		h.t.Fatal("the audit log is empty")
	}
	return all[len(all)-1]
}

// eventually waits for what another goroutine or process does.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("it never happened: %s", what)
}

// rsaKey is any RSA key.
func rsaKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// fuzzConfig is a configuration for a server without sockets.
func fuzzConfig(t *testing.T) Config {
	p := NewPINs(&person{})
	audit, err := OpenAuditLog(filepath.Join(t.TempDir(), "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(); audit.Close() })
	return Config{Keys: key.NewRing(&keytest.Backend{}), PINs: p, Audit: audit, Log: slog.New(slog.DiscardHandler)}
}

// fakeDevice stands for a device whose answers the tests know.
type fakeDevice struct{ before func() }

var _ Device = fakeDevice{}

// String implements [Device].
func (fakeDevice) String() string { return "test:" }

// Status implements [Device].
func (d fakeDevice) Status(context.Context) (any, error) {
	if d.before != nil {
		d.before()
	}
	return map[string]int{"lockout": 3}, nil
}

// EndorsementKeys implements [Device].
func (fakeDevice) EndorsementKeys(context.Context) (any, error) {
	return []map[string]string{{"template": "L-1"}}, nil
}

// Answer implements [Device].
func (fakeDevice) Answer(_ context.Context, challenge []byte) ([]byte, error) {
	if string(challenge) != "challenge" {
		return nil, key.ErrForeign
	}
	return []byte("answer"), nil
}

// Pin implements [Device].
func (fakeDevice) Pin(_ context.Context, ekCertificate string) error {
	if ekCertificate != strings.Repeat("0", 64) {
		return key.ErrForeign
	}
	return nil
}

// Storage implements [Device].
func (fakeDevice) Storage(context.Context) (any, error) {
	return map[string]string{"name": "000b01"}, nil
}
