package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

// dialSSH connects a client that is not ours.
func (h *harness) dialSSH() (sshagent.ExtendedAgent, net.Conn) {
	h.t.Helper()
	conn, err := net.Dial("unix", h.ssh)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return sshagent.NewClient(conn), conn
}

func sshKey(t *testing.T, in key.Info) ssh.PublicKey {
	t.Helper()
	k, err := ssh.NewPublicKey(in.Public)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sshsigData is what ssh-keygen -Y sign asks an agent to sign.
func sshsigData(t testing.TB, namespace string) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte("file"))
	data, err := sshsig.SignedData(namespace, "sha256", digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// loginData is what an SSH client asks an agent to sign.
func loginData(in key.Info, algorithm string, sessionID, hostKey []byte) []byte {
	blob, _ := sshwire.Blob(in.Public)
	return (&sshwire.UserAuth{SessionID: sessionID, User: "me", Algorithm: algorithm, Key: blob, HostKey: hostKey}).Marshal()
}

func TestSSHSign(t *testing.T) {
	h := start(t, nil)
	ec := h.key(key.Spec{Name: "ec", Usage: key.SSH})
	p384 := h.key(key.Spec{Name: "p384", Usage: key.SSH, Algorithm: key.P384})
	rsa := h.key(key.Spec{Name: "rsa", Usage: key.SSH, Algorithm: key.RSA2048})
	artifact := h.key(key.Spec{Name: "release", Usage: key.Artifact, Unattended: true})
	digest := h.key(key.Spec{Name: "digest", Usage: key.Digest, Unattended: true})
	client, _ := h.dialSSH()

	keys, err := client.List()
	if err != nil || len(keys) != 3 {
		t.Fatalf("listed %v, %v; want the three ssh keys", keys, err)
	}
	if keys[0].Comment != "ec" || !bytes.Equal(keys[0].Blob, sshKey(t, ec).Marshal()) {
		t.Errorf("first key is %v", keys[0])
	}
	session := bytes.Repeat([]byte{1}, 32)
	random := make([]byte, 1024)
	rand.Read(random)
	for _, c := range []struct {
		name  string
		key   key.Info
		data  []byte
		flags sshagent.SignatureFlags
		want  string // format of the signature; empty: refused
		form  Form   // in the audit log
	}{
		{"login", ec, loginData(ec, ssh.KeyAlgoECDSA256, session, nil), 0, ssh.KeyAlgoECDSA256, FormUserAuth},
		{"login, P-384", p384, loginData(p384, ssh.KeyAlgoECDSA384, session, nil), 0, ssh.KeyAlgoECDSA384, FormUserAuth},
		{"login, RSA with SHA-256", rsa, loginData(rsa, ssh.KeyAlgoRSASHA256, session, nil), 2, ssh.KeyAlgoRSASHA256, FormUserAuth},
		{"login, RSA with SHA-512", rsa, loginData(rsa, ssh.KeyAlgoRSASHA512, session, nil), 4, ssh.KeyAlgoRSASHA512, FormUserAuth},
		{"host-bound login", ec, loginData(ec, ssh.KeyAlgoECDSA256, session, sshKey(t, rsa).Marshal()), 0, ssh.KeyAlgoECDSA256, FormUserAuth},
		{"git commit", ec, sshsigData(t, "git"), 0, ssh.KeyAlgoECDSA256, FormSSHSIG},
		{"file", rsa, sshsigData(t, "file"), 4, ssh.KeyAlgoRSASHA512, FormSSHSIG},

		{"RSA with SHA-1", rsa, loginData(rsa, ssh.KeyAlgoRSA, session, nil), 0, "", FormUnrecognised},
		{"both flags", rsa, sshsigData(t, "git"), 6, "", FormUnrecognised},
		{"unknown flag", ec, sshsigData(t, "git"), 1, "", FormUnrecognised},
		{"RSA flag for ECDSA", ec, sshsigData(t, "git"), 2, "", FormUnrecognised},
		{"algorithm is not the flag's", rsa, loginData(rsa, ssh.KeyAlgoRSASHA256, session, nil), 4, "", FormUnrecognised},
		{"login with another key", ec, loginData(p384, ssh.KeyAlgoECDSA256, session, nil), 0, "", FormUnrecognised},
		{"namespace", ec, sshsigData(t, "sealsmith-bundle"), 0, "", FormSSHSIG},
		{"random data, as ssh-add -T", ec, random, 0, "", FormUnrecognised},
		{"exchange hash", ec, random[:32], 0, "", FormExchangeHash},
		{"nothing", ec, nil, 0, "", FormUnrecognised},
		{"DSSE", ec, []byte("DSSEv1 1 a 1 b"), 0, "", FormUnrecognised},
		{"artifact key, file signature", artifact, sshsigData(t, "file"), 0, "", FormSSHSIG},
		{"artifact key, login", artifact, loginData(artifact, ssh.KeyAlgoECDSA256, session, nil), 0, "", FormUserAuth},
		{"digest key, file signature", digest, sshsigData(t, "git"), 0, "", FormSSHSIG},
		{"digest key, random data", digest, random, 0, "", FormUnrecognised},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(h.records())
			s, err := client.SignWithFlags(sshKey(t, c.key), c.data, c.flags)
			records := h.records()[before:]
			if len(records) != 1 {
				t.Fatalf("audit %+v", records)
			}
			r := records[0]
			sum := sha256.Sum256(c.data)
			if r.Form != c.form || r.Key != c.key.ID || r.SHA256 != hex.EncodeToString(sum[:]) || r.UID != os.Getuid() || r.PID != os.Getpid() {
				t.Errorf("audit %+v", r)
			}
			if c.want == "" {
				if err == nil || r.Outcome == outcomeDone || r.Code != "not_allowed" && r.Code != "unsupported" {
					t.Errorf("got %v, %v, audit %+v", s, err, r)
				}
				return
			}
			if err != nil || s.Format != c.want || r.Outcome != outcomeDone {
				t.Fatalf("got %v, %v, audit %+v", s, err, r)
			}
			if err := sshKey(t, c.key).Verify(c.data, s); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := client.Sign(sshKey(t, ec), sshsigData(t, "git")); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

func TestSSHUnknownMessages(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	client, _ := h.dialSSH()
	answer, err := client.Extension("query", nil)
	if err != nil {
		t.Fatal(err)
	}
	var names struct {
		Name string `sshtype:"29"`
		A, B string
	}
	if err := ssh.Unmarshal(answer, &names); err != nil || names.Name != "query" || names.B != "session-bind@openssh.com" {
		t.Errorf("query: %+v, %v", names, err)
	}
	for name, f := range map[string]func() error{
		"unknown extension": func() error { _, err := client.Extension("x@example.org", nil); return err },
		"bad bind":          func() error { _, err := client.Extension("session-bind@openssh.com", []byte("x")); return err },
		"remove":            func() error { return client.Remove(sshKey(t, in)) },
		"unlock":            func() error { return client.Unlock([]byte("x")) },
	} {
		if err := f(); err == nil {
			t.Errorf("%s succeeded", name)
		}
	}
	conn, err := net.Dial("unix", h.ssh)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Answers 5 (unknown) and 28 (known and failed) are different things.
	for message, want := range map[string]byte{
		"\x1b\x00\x00\x00\x01x":                          5,
		"\x1b\x00\x00\x00\x18session-bind@openssh.comxx": 28,
		"\x01": 5, "\xff": 5, "\x00": 5, "\x0e": 5,
	} {
		if got := exchange(t, conn, []byte(message)); len(got) != 1 || got[0] != want {
			t.Errorf("%q is answered by %x, want %d", message, got, want)
		}
	}
	if keys, err := client.List(); err != nil || len(keys) != 1 {
		t.Errorf("after all that: %v, %v", keys, err)
	}
}

// exchange sends one message and reads the answer.
func exchange(t *testing.T, conn net.Conn, message []byte) []byte {
	t.Helper()
	if err := writeFrame(conn, message); err != nil {
		t.Fatal(err)
	}
	f, err := newFrameReader(conn, newBudget(1<<20)).next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{f.kind}, f.body...)
}

// TestSSHParallel: many clients, each served, none mixed up.
func TestSSHParallel(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			conn, err := net.Dial("unix", h.ssh)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			client := sshagent.NewClient(conn)
			for j := range 4 {
				data := loginData(in, ssh.KeyAlgoECDSA256, fmt.Appendf(nil, "session %d %d", i, j), nil)
				s, err := client.Sign(sshKey(t, in), data)
				if err == nil {
					err = sshKey(t, in).Verify(data, s)
				}
				if err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestPromptBlocksOnlyItsRequest: while a person thinks, everybody else is
// served; when the client goes, so does the prompt.
func TestPromptBlocksOnlyItsRequest(t *testing.T) {
	var confirmed key.ID
	h := start(t, func(c *Config) { c.Rules = map[key.ID]Rule{} })
	slow := h.key(key.Spec{Name: "slow", Usage: key.SSH})
	quick := h.key(key.Spec{Name: "quick", Usage: key.SSH})
	confirmed = slow.ID
	h.server.config.Rules[confirmed] = Rule{Confirm: true}
	asked, gone := make(chan Question), make(chan error, 1)
	h.person.confirm = func(ctx context.Context, q Question) error {
		asked <- q
		<-ctx.Done()
		gone <- ctx.Err()
		return ctx.Err()
	}
	client, conn := h.dialSSH()
	result := make(chan error, 1)
	go func() {
		_, err := client.Sign(sshKey(t, slow), loginData(slow, ssh.KeyAlgoECDSA256, []byte("s"), nil))
		result <- err
	}()
	q := <-asked
	if q.Title != "Sign with the key tpm/slow?" || len(q.Facts) < 3 || q.Facts[2] != (Fact{"Log in as", "me", true}) {
		t.Errorf("asked %+v", q)
	}
	other, _ := h.dialSSH()
	if _, err := other.Sign(sshKey(t, quick), sshsigData(t, "git")); err != nil {
		t.Errorf("another key: %v", err)
	}
	if keys, err := other.List(); err != nil || len(keys) != 2 {
		t.Errorf("listing: %v, %v", keys, err)
	}
	conn.Close()
	if err := <-gone; err == nil {
		t.Error("the prompt did not end")
	}
	if err := <-result; err == nil {
		t.Error("signed without a yes")
	}
	eventually(t, "audit line", func() bool { return len(h.records()) == 2 })
	if r := h.lastRecord(); r.Key != slow.ID || r.Outcome == outcomeDone {
		t.Errorf("audit %+v", r)
	}
}

// TestOpenSSH drives the agent with OpenSSH's own programs.
func TestOpenSSH(t *testing.T) {
	add, keygen := testenv.Need(t, testenv.SSHAdd), testenv.Need(t, testenv.SSHKeygen)
	h := start(t, nil)
	dir := t.TempDir()
	run := func(input string, program string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+h.ssh)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("", add, "-l"); err == nil || !strings.Contains(out, "no identities") {
		t.Errorf("empty agent: %q, %v", out, err)
	}
	for _, alg := range key.Algorithms {
		in := h.key(key.Spec{Name: string(alg), Usage: key.SSH, Algorithm: alg, Comment: "me " + string(alg)})
		pub := filepath.Join(dir, string(alg)+".pub")
		line := ssh.MarshalAuthorizedKey(sshKey(t, in))
		if err := os.WriteFile(pub, line, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run("", add, "-l"); err != nil || !strings.Contains(out, ssh.FingerprintSHA256(sshKey(t, in))+" me "+string(alg)) {
			t.Errorf("%s: ssh-add -l: %q, %v", alg, out, err)
		}
		file := filepath.Join(dir, string(alg)+".txt")
		if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run("", keygen, "-Y", "sign", "-n", "git", "-f", pub, file); err != nil {
			t.Errorf("%s: ssh-keygen -Y sign: %q, %v", alg, out, err)
		}
		allowed := filepath.Join(dir, string(alg)+".allowed")
		if err := os.WriteFile(allowed, append([]byte("me@example.org "), line...), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run("text", keygen, "-Y", "verify", "-n", "git", "-f", allowed, "-I", "me@example.org", "-s", file+".sig"); err != nil {
			t.Errorf("%s: ssh-keygen -Y verify: %q, %v", alg, out, err)
		}
		if err := os.Remove(file + ".sig"); err != nil {
			t.Fatal(err)
		}
		if out, err := run("", keygen, "-Y", "sign", "-n", "other", "-f", pub, file); err == nil || !strings.Contains(out, "agent refused operation") {
			t.Errorf("%s: signed for another namespace: %q", alg, out)
		}
		if out, err := run("", add, "-T", pub); err == nil {
			t.Errorf("%s: ssh-add -T got its random data signed: %q", alg, out)
		}
		// Older versions ask RSA keys for SHA-1, which fails earlier.
		if r := h.lastRecord(); r.Form != FormUnrecognised || r.Outcome == outcomeDone || r.Key != in.ID {
			t.Errorf("%s: audit of ssh-add -T: %+v", alg, r)
		}
	}
	if out, err := run("", add, "-D"); err != nil {
		t.Errorf("ssh-add -D says %q", out)
	}
	if out, err := run("", add, "-l"); err != nil || strings.Count(out, "\n") != len(key.Algorithms) {
		t.Errorf("after ssh-add -D: %q, %v", out, err)
	}
}
