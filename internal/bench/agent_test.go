package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/sockets"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// signingTime is how long one side signs in one round.
const signingTime = time.Second

// TestAgent counts signatures through the agent's ssh socket and compares with
// TPM2_Sign on a loaded key in a session like ours, over the same connection to the
// same software TPM.
func TestAgent(t *testing.T) {
	for _, c := range []struct {
		name    string
		alg     key.Algorithm
		pin     string
		clients int
	}{
		{"p256/1", key.P256, "", 1},
		{"p256/8", key.P256, "", 8},
		{"p256pin/1", key.P256, "1234", 1},
		{"rsa2048/1", key.RSA2048, "", 1},
	} {
		name := "agent/" + c.name
		if !wanted(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := newSetting(t, key.Spec{Algorithm: c.alg}, 1, c.pin)
			ours := func() float64 { return s.signatures(t, c.clients) }
			raw := func() float64 { return rawSignatures(t, s.device, c.alg, []byte(c.pin)) }
			value, ratio := inTurns(ours, raw)
			printFigure(name, value, "signatures/s", "TPM2_Sign on a loaded key", ratio)
		})
	}
}

// TestAgentInTurn signs with more keys than a TPM has slots, one after the other, so
// that none is ever loaded when it is wanted. It compares with what a book would do,
// on a software TPM of its own for its parent needs a slot too.
func TestAgentInTurn(t *testing.T) {
	const name, keys = "agent/p256/4keys", 4
	if !wanted(name) {
		return
	}
	s := newSetting(t, key.Spec{Algorithm: key.P256}, keys, "")
	other := newDevice(t, testenv.SocketDir(t))
	defer other.Close()
	ours := func() float64 { return s.signatures(t, 1) }
	raw := func() float64 { return rawInTurn(t, other, key.P256, keys) }
	value, ratio := inTurns(ours, raw)
	printFigure(name, value, "signatures/s", "Load, TPM2_Sign and FlushContext, the parent kept", ratio)
}

// TestAgentWait measures how long one of eight clients waits for a signature, but for
// one in a hundred, and compares with eight TPM2_Sign in a row.
func TestAgentWait(t *testing.T) {
	const name, clients = "agent/p99/8", 8
	if !wanted(name) {
		return
	}
	s := newSetting(t, key.Spec{Algorithm: key.P256}, 1, "")
	ours := func() float64 { return percentile99(slices.Concat(s.latencies(t, clients)...)) }
	raw := func() float64 { return percentile99(rawLatencies(t, s.device, key.P256, clients)) }
	value, ratio := inTurns(ours, raw)
	printFigure(name, value, "s", "8 TPM2_Sign on a loaded key", 1/ratio)
}

// percentile99 is what 99 of a hundred do not exceed, in seconds.
func percentile99(times []time.Duration) float64 {
	slices.Sort(times)
	return times[len(times)*99/100].Seconds()
}

// setting is an agent on a software TPM with ssh keys.
type setting struct {
	device *tpm.Device
	socket string
	keys   []ssh.PublicKey
	data   []byte // an SSHSIG blob, which the keys sign
}

func newDevice(t *testing.T, dir string) *tpm.Device {
	t.Helper()
	testenv.Need(t, testenv.SWTPM)
	d, err := tpm.NewDevice(tpm.Options{
		Device:  "swtpm:" + filepath.Join(dir, "tpm"),
		LockDir: filepath.Join(dir, "lock"), DataDir: filepath.Join(dir, "data"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// newSetting makes so many keys like spec, with the PIN if there is one.
func newSetting(t *testing.T, spec key.Spec, keys int, pin string) *setting {
	t.Helper()
	dir := testenv.SocketDir(t)
	log := slog.New(slog.DiscardHandler)
	s := &setting{device: newDevice(t, dir), socket: filepath.Join(dir, "run", "ssh.sock")}
	pins := agent.NewPINs(typist(pin))
	backend, err := tpm.New(s.device, tpm.Config{Dir: filepath.Join(dir, "keys"), Auth: pins.Auth, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ring := key.NewRing(backend)
	if pin != "" {
		spec.PIN = func(_ context.Context, use func([]byte) error) error { return use([]byte(pin)) }
	}
	spec.Usage = key.SSH
	for i := range keys {
		spec.Name = fmt.Sprint("k", i)
		made, err := ring.Create(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		public, err := ssh.NewPublicKey(made.Public())
		if err != nil {
			t.Fatal(err)
		}
		s.keys = append(s.keys, public)
	}
	audit, err := agent.OpenAuditLog(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	server := agent.NewServer(agent.Config{Keys: ring, PINs: pins, Audit: audit, Log: log})
	listener, err := sockets.Listen(s.socket)
	if err != nil {
		t.Fatal(err)
	}
	go server.ServeSSH(listener)
	t.Cleanup(func() {
		server.Shutdown(t.Context())
		ring.Close()
		audit.Close()
	})
	if s.data, err = sshsig.SignedData("git", "sha256", make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	return s
}

// typist answers every prompt with the PIN.
type typist string

// Confirm implements [agent.Prompter].
func (typist) Confirm(context.Context, agent.Question) error { return nil }

// PIN implements [agent.Prompter].
func (p typist) PIN(_ context.Context, _ agent.Question, use func([]byte) error) error {
	return use([]byte(p))
}

// signatures counts what a number of clients get signed, per second, each with the
// keys in turn.
func (s *setting) signatures(t *testing.T, clients int) float64 {
	start := time.Now()
	total := 0
	for _, one := range s.latencies(t, clients) {
		total += len(one)
	}
	return float64(total) / time.Since(start).Seconds()
}

// latencies returns how long each of a number of clients waited for each of the
// signatures that it got in the signing time.
func (s *setting) latencies(t *testing.T, clients int) [][]time.Duration {
	var flags sshagent.SignatureFlags
	if s.keys[0].Type() == ssh.KeyAlgoRSA {
		flags = sshagent.SignatureFlagRsaSha256
	}
	all := make([][]time.Duration, clients)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range clients {
		wg.Go(func() {
			conn, err := net.Dial("unix", s.socket)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			client := sshagent.NewClient(conn)
			for time.Since(start) < signingTime {
				began := time.Now()
				if _, err := client.SignWithFlags(s.keys[len(all[i])%len(s.keys)], s.data, flags); err != nil {
					t.Error(err)
					return
				}
				all[i] = append(all[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	return all
}
