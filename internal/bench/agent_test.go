package bench

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
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
			raw := func() float64 { return s.rawSignatures(t, c.alg) }
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
	server := agent.NewServer(agent.Config{Keys: ring, PINs: pins, Device: device.String(), Audit: audit, Log: log})
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

// rawSignatures counts bare TPM2_Sign commands per second.
func (s *setting) rawSignatures(t *testing.T, alg key.Algorithm) float64 {
	var perSecond float64
	err := s.device.Do(t.Context(), func(chip transport.TPM) error {
		k, err := rawKey(chip, alg)
		if err != nil {
			return err
		}
		defer tpm2.FlushContext{FlushHandle: k.Handle}.Execute(chip)
		scheme := tpm2.TPMAlgECDSA
		if alg.RSA() {
			scheme = tpm2.TPMAlgRSASSA
		}
		digest := make([]byte, 32)
		rand.Read(digest)
		count, start := 0, time.Now()
		for ; time.Since(start) < signingTime; count++ {
			sign := tpm2.Sign{
				KeyHandle:  k,
				Digest:     tpm2.TPM2BDigest{Buffer: digest},
				InScheme:   tpm2.TPMTSigScheme{Scheme: scheme, Details: tpm2.NewTPMUSigScheme(scheme, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})},
				Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
			}
			if _, err := sign.Execute(chip); err != nil {
				return err
			}
		}
		perSecond = float64(count) / time.Since(start).Seconds()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return perSecond
}

// rawKey makes a signing key that is loaded at once.
func rawKey(chip transport.TPM, alg key.Algorithm) (tpm2.AuthHandle, error) {
	template := tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true, NoDA: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256}),
	}
	if alg.RSA() {
		template.Type = tpm2.TPMAlgRSA
		template.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048})
	}
	made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(template)}.Execute(chip)
	if err != nil {
		return tpm2.AuthHandle{}, err
	}
	return tpm2.AuthHandle{Handle: made.ObjectHandle, Name: made.Name, Auth: tpm2.PasswordAuth(nil)}, nil
}
