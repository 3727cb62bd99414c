package bench

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
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
// TPM2_Sign on a loaded key with a password, over the same connection to the same
// software TPM: nothing can be faster.
func TestAgent(t *testing.T) {
	for _, c := range []struct {
		alg     key.Algorithm
		clients int
	}{{key.P256, 1}, {key.P256, 8}, {key.RSA2048, 1}} {
		name := fmt.Sprintf("agent/%s/%d", c.alg, c.clients)
		if !wanted(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s := newSetting(t, c.alg)
			ours := func() float64 { return s.signatures(t, c.clients) }
			raw := func() float64 { return rawSignatures(t, s.device, c.alg, nil) }
			value, ratio := inTurns(ours, raw)
			printFigure(name, value, "signatures/s", "TPM2_Sign on a loaded key", ratio)
		})
	}
}

// setting is an agent on a software TPM with one ssh key.
type setting struct {
	device *tpm.Device
	socket string
	key    ssh.PublicKey
	data   []byte // an SSHSIG blob, which the key signs
}

func newSetting(t *testing.T, alg key.Algorithm) *setting {
	t.Helper()
	testenv.Need(t, testenv.SWTPM)
	dir := testenv.SocketDir(t)
	log := slog.New(slog.DiscardHandler)
	device, err := tpm.NewDevice(tpm.Options{
		Device: "swtpm:" + filepath.Join(dir, "tpm"), LockDir: filepath.Join(dir, "lock"), DataDir: filepath.Join(dir, "data"), Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	pins := agent.NewPINs(nil)
	backend, err := tpm.New(device, tpm.Config{Dir: filepath.Join(dir, "keys"), Auth: pins.Auth, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ring := key.NewRing(backend)
	made, err := ring.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: alg})
	if err != nil {
		t.Fatal(err)
	}
	audit, err := agent.OpenAuditLog(filepath.Join(dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	server := agent.NewServer(agent.Config{Keys: ring, PINs: pins, Audit: audit, Log: log})
	s := &setting{device: device, socket: filepath.Join(dir, "run", "ssh.sock")}
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
	if s.key, err = ssh.NewPublicKey(made.Public()); err != nil {
		t.Fatal(err)
	}
	if s.data, err = sshsig.SignedData("git", "sha256", make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	return s
}

// signatures counts what a number of clients get signed, per second.
func (s *setting) signatures(t *testing.T, clients int) float64 {
	var flags sshagent.SignatureFlags
	if s.key.Type() == ssh.KeyAlgoRSA {
		flags = sshagent.SignatureFlagRsaSha256
	}
	counts := make([]int, clients)
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
				if _, err := client.SignWithFlags(s.key, s.data, flags); err != nil {
					t.Error(err)
					return
				}
				counts[i]++
			}
		})
	}
	wg.Wait()
	took := time.Since(start).Seconds()
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / took
}
