package sshsig

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

const namespace = "sealsmith-bundle"

var message = []byte("what is signed\n")

// keyKinds are the arguments of ssh-keygen for each kind of key that counts.
var keyKinds = map[string][]string{
	"p256":    {"-t", "ecdsa", "-b", "256"},
	"p384":    {"-t", "ecdsa", "-b", "384"},
	"p521":    {"-t", "ecdsa", "-b", "521"},
	"ed25519": {"-t", "ed25519"},
	"rsa2048": {"-t", "rsa", "-b", "2048"},
}

// keygen makes a key pair with ssh-keygen and returns its file and its signer.
func keygen(t *testing.T, kind ...string) (string, ssh.Signer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	run(t, nil, append([]string{"-q", "-N", "", "-C", "somebody", "-f", path}, kind...)...)
	pem, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	return path, signer
}

func run(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	out, err := try(t, stdin, args...)
	if err != nil {
		t.Fatalf("ssh-keygen %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func try(t *testing.T, stdin []byte, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), testenv.Need(t, testenv.SSHKeygen), args...)
	cmd.Stdin = bytes.NewReader(stdin)
	return cmd.CombinedOutput()
}

// sign makes a signature over message as a key would.
func sign(t testing.TB, signer ssh.Signer) *Signature {
	t.Helper()
	digest := sha512.Sum512(message)
	data, err := SignedData(namespace, "sha512", digest[:])
	if err != nil {
		t.Fatal(err)
	}
	algorithm := signer.PublicKey().Type()
	if algorithm == ssh.KeyAlgoRSA {
		algorithm = ssh.KeyAlgoRSASHA512
	}
	raw, err := signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, data, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cryptoKey(signer.PublicKey()), namespace, "sha512", ssh.Marshal(raw))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSSHKeygen signs with ssh-keygen and verifies with us, and the reverse.
func TestSSHKeygen(t *testing.T) {
	for name, kind := range keyKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, signer := keygen(t, kind...)

			theirs := run(t, message, "-Y", "sign", "-q", "-n", namespace, "-f", path)
			s, err := ParseArmored(theirs)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(s.Armor(), theirs) {
				t.Errorf("ssh-keygen wrote\n%s\nwe write\n%s", theirs, s.Armor())
			}
			digest := sha512.Sum512(message)
			if s.Namespace != namespace || s.Hash != "sha512" || s.Verify(digest[:]) != nil {
				t.Errorf("namespace %q, hash %s, %v", s.Namespace, s.Hash, s.Verify(digest[:]))
			}

			pub, err := os.ReadFile(path + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			allowed := write(t, append([]byte("me@example.com "), pub...))
			ours := write(t, sign(t, signer).Armor())
			verify := []string{"-Y", "verify", "-f", allowed, "-I", "me@example.com", "-n", namespace, "-s", ours}
			run(t, message, verify...)
			if out, err := try(t, []byte("something else"), verify...); err == nil {
				t.Errorf("ssh-keygen accepts another message: %s", out)
			}
			keys, err := ParsePublicKeys(pub)
			if err != nil || len(keys) != 1 {
				t.Fatalf("public key file: %v, %v", keys, err)
			}
			fingerprint, err := Fingerprint(keys[0])
			if out := run(t, nil, "-l", "-f", path); err != nil || !strings.Contains(string(out), fingerprint) {
				t.Errorf("ssh-keygen says %s, we say %s, %v", out, fingerprint, err)
			}
		})
	}
}

// TestAllowedSignersAgree gives the same allowed signers files to ssh-keygen and
// to us.
func TestAllowedSignersAgree(t *testing.T) {
	path, signer := keygen(t, keyKinds["ed25519"]...)
	_, stranger := keygen(t, keyKinds["ed25519"]...)
	pub := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	other := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(stranger.PublicKey())))
	signature := write(t, run(t, message, "-Y", "sign", "-q", "-n", namespace, "-f", path))
	at := time.Date(2026, 4, 11, 12, 0, 0, 0, time.UTC)
	// Times without Z are in the system's time zone. OpenSSH 9.2 reads them an
	// hour late in summer, hence the margin of two.
	here := at.Local()

	for _, c := range []struct {
		file string
		want error
	}{
		{"me@example.com " + pub, nil},
		{"# comment\n\n \t me@example.com \t" + pub + " comment at the end\r\n", nil},
		{"you@example.com " + pub, ErrUnknownPrincipal},
		{"me@example.com " + other, ErrKeyNotAllowed},
		{"me@example.com " + other + "\nme@example.com " + pub, nil},
		{"*@example.com " + pub, nil},
		{"m?@example.co* " + pub, nil},
		{"*@example.org " + pub, ErrUnknownPrincipal},
		{"*@example.com,!me@example.com " + pub, ErrUnknownPrincipal},
		{"!me@example.com,* " + pub, ErrUnknownPrincipal},
		{"you@example.com,me@example.com " + pub, nil},
		{"ME@example.com " + pub, ErrUnknownPrincipal},
		{`"me@example.com" ` + pub, nil},
		{`"me@example.com, and others" ` + pub, nil},
		{`me@example.com namespaces="sealsmith-bundle" ` + pub, nil},
		{`me@example.com NameSpaces="git,sealsmith-*" ` + pub, nil},
		{`me@example.com namespaces="git" ` + pub, ErrNamespace},
		{`me@example.com namespaces="*,!sealsmith-bundle" ` + pub, ErrNamespace},
		{`me@example.com namespaces="a\"b" ` + pub, ErrNamespace},
		{`me@example.com valid-after="20260411Z" ` + pub, nil},
		{`me@example.com valid-after="202604111200Z" ` + pub, nil},
		{`me@example.com valid-after="20260411120001Z" ` + pub, ErrNotYetValid},
		{`me@example.com valid-before="20260411120000Z" ` + pub, nil},
		{`me@example.com valid-after="` + here.Add(-2*time.Hour).Format("20060102150405") + `" ` + pub, nil},
		{`me@example.com valid-after="` + here.Add(2*time.Hour).Format("20060102150405") + `" ` + pub, ErrNotYetValid},
		{`me@example.com valid-before="20260411115959Z" ` + pub, ErrExpired},
		{`me@example.com valid-after="20260101Z",valid-before="20261231Z",namespaces="sealsmith-bundle" ` + pub, nil},
		{`me@example.com valid-before="20260101Z" ` + pub + "\nme@example.com " + pub, nil},
	} {
		_, err := try(t, message, "-Y", "verify", "-f", write(t, []byte(c.file)), "-I", "me@example.com",
			"-n", namespace, "-s", signature, "-O", "verify-time=20260411120000Z")
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s\nssh-keygen: %v", c.file, err)
		}
		a, err := ParseAllowedSigners([]byte(c.file))
		if err != nil {
			t.Errorf("%s\n%v", c.file, err)
			continue
		}
		if err := a.Check(cryptoKey(signer.PublicKey()), "me@example.com", namespace, at); err != c.want {
			t.Errorf("%s\ngot %v, want %v", c.file, err, c.want)
		}
	}
}
