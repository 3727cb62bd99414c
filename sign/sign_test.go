package sign

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/internal/dsse"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sigtest"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

var message = []byte("what is signed\n")

func statement(t testing.TB) []byte {
	t.Helper()
	s, err := provenance.ImageSignature(fmt.Sprintf("sha256:%x", sha256.Sum256(message)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// recorder is a key that notes what it was asked, and may answer wrongly.
type recorder struct {
	*sigtest.Key
	asked []string
	spoil func([]byte) []byte
}

func (r *recorder) answer(sig []byte, err error) ([]byte, error) {
	if r.spoil != nil {
		sig = r.spoil(sig)
	}
	return sig, err
}

func (r *recorder) SignDSSE(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	r.asked = append(r.asked, "dsse "+payloadType)
	return r.answer(r.Key.SignDSSE(ctx, payloadType, payload))
}

func (r *recorder) SignBlob(ctx context.Context, message []byte) ([]byte, error) {
	r.asked = append(r.asked, fmt.Sprintf("blob %d", len(message)))
	return r.answer(r.Key.SignBlob(ctx, message))
}

func (r *recorder) SignSSHSIG(ctx context.Context, namespace, hash string, digest []byte) ([]byte, error) {
	r.asked = append(r.asked, fmt.Sprintf("sshsig %s %s %d", namespace, hash, len(digest)))
	return r.answer(r.Key.SignSSHSIG(ctx, namespace, hash, digest))
}

// TestForms checks which form of signature a key is asked for.
func TestForms(t *testing.T) {
	k := &recorder{Key: sigtest.NewKey(t, key.P256)}
	var asked []string
	for _, c := range []struct {
		sign func() ([]byte, error)
		want string
	}{
		{func() ([]byte, error) { return Blob(t.Context(), k, bytes.NewReader(message)) }, "blob 15"},
		{func() ([]byte, error) { return Blob(t.Context(), k, strings.NewReader("")) }, "blob 0"},
		{func() ([]byte, error) {
			return Blob(t.Context(), k, bytes.NewReader(make([]byte, limits.SignBlob)))
		}, "blob 1048576"},
		{func() ([]byte, error) { return Statement(t.Context(), k, statement(t)) }, "dsse application/vnd.in-toto+json"},
		// A file that is a pre-authentication encoding is signed as one.
		{func() ([]byte, error) {
			return Blob(t.Context(), k, bytes.NewReader(dsse.PAE("text/plain", message)))
		}, "dsse text/plain"},
		{func() ([]byte, error) { return Blob(t.Context(), k, strings.NewReader("DSSEv1 x")) }, "blob 8"},
		{func() ([]byte, error) { return SSH(t.Context(), k, "file", bytes.NewReader(message)) }, "sshsig file sha256 32"},
	} {
		if _, err := c.sign(); err != nil {
			t.Errorf("%s: %v", c.want, err)
		}
		asked = append(asked, c.want)
	}
	if d := cmp.Diff(asked, k.asked); d != "" {
		t.Error(d)
	}
}

func TestTooLong(t *testing.T) {
	k := &recorder{Key: sigtest.NewKey(t, key.P256)}
	_, err := Blob(t.Context(), k, bytes.NewReader(make([]byte, limits.SignBlob+1)))
	if !errors.Is(err, key.ErrNotAllowed) || len(hint.Of(err)) != 1 || len(k.asked) != 0 {
		t.Errorf("%v, hints %q, asked %q", err, hint.Of(err), k.asked)
	}
	d := sigtest.NewDigestKey(t, key.P256)
	if _, err := Blob(t.Context(), d, bytes.NewReader(make([]byte, limits.SignBlob+1))); err != nil {
		t.Errorf("digest key: %v", err)
	}
	if _, err := Statement(t.Context(), d, statement(t)); err != nil {
		t.Errorf("digest key, statement: %v", err)
	}
}

// TestFaultyKey checks that a wrong answer never becomes a signature file.
func TestFaultyKey(t *testing.T) {
	for _, a := range []key.Algorithm{key.P256, key.RSA2048} {
		for name, spoil := range map[string]func([]byte) []byte{
			"empty":    func([]byte) []byte { return nil },
			"flipped":  func(b []byte) []byte { b = bytes.Clone(b); b[len(b)-1] ^= 1; return b },
			"trailing": func(b []byte) []byte { return append(bytes.Clone(b), 0) },
		} {
			k := &recorder{Key: sigtest.NewKey(t, a), spoil: spoil}
			if b, err := Blob(t.Context(), k, bytes.NewReader(message)); !errors.Is(err, errFaulty) {
				t.Errorf("%s, %s: Blob: %s, %v", a, name, b, err)
			}
			if b, err := Statement(t.Context(), k, statement(t)); !errors.Is(err, errFaulty) {
				t.Errorf("%s, %s: Statement: %s, %v", a, name, b, err)
			}
			if b, err := SSH(t.Context(), k, "file", bytes.NewReader(message)); !errors.Is(err, errFaulty) {
				t.Errorf("%s, %s: SSH: %s, %v", a, name, b, err)
			}
		}
	}
}

// refuser is a key that refuses everything.
type refuser struct {
	*sigtest.Key
	err error
}

func (r refuser) SignDSSE(context.Context, string, []byte) ([]byte, error) { return nil, r.err }
func (r refuser) SignBlob(context.Context, []byte) ([]byte, error)         { return nil, r.err }
func (r refuser) SignSSHSIG(context.Context, string, string, []byte) ([]byte, error) {
	return nil, r.err
}

// TestRefusingKey: the key's own words reach the caller, with nothing before
// them.
func TestRefusingKey(t *testing.T) {
	k := refuser{sigtest.NewKey(t, key.P256), fmt.Errorf("sign with tpm/release: %w", key.ErrDenied)}
	for name, sign := range map[string]func() ([]byte, error){
		"Blob":      func() ([]byte, error) { return Blob(t.Context(), k, bytes.NewReader(message)) },
		"Statement": func() ([]byte, error) { return Statement(t.Context(), k, statement(t)) },
		"SSH":       func() ([]byte, error) { return SSH(t.Context(), k, "file", bytes.NewReader(message)) },
	} {
		if _, err := sign(); !errors.Is(err, key.ErrDenied) || err.Error() != k.err.Error() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// notDigest is a key.Signer of another usage.
type notDigest struct{ key.Signer }

func (n notDigest) Info() key.Info {
	in := n.Signer.Info()
	in.Usage = key.SSH
	return in
}

// anything is neither kind of key.
type anything struct{ in key.Info }

func (a anything) Info() key.Info { return a.in }

func TestRefusedKeys(t *testing.T) {
	d := sigtest.NewDigestKey(t, key.P256)
	if _, err := NewKeypair(notDigest{d}); !errors.Is(err, key.ErrNotAllowed) {
		t.Errorf("signer of usage ssh: %v", err)
	}
	if _, err := NewKeypair(anything{d.Info()}); !errors.Is(err, key.ErrUnsupported) {
		t.Errorf("neither kind: %v", err)
	}
	if _, err := NewKeypair(anything{}); err == nil {
		t.Error("no public key")
	}
}

func TestRefusedInput(t *testing.T) {
	k := &recorder{Key: sigtest.NewKey(t, key.P256)}
	if _, err := Statement(t.Context(), k, []byte(`{"_type":"x"}`)); !errors.Is(err, provenance.ErrStatement) {
		t.Errorf("no statement: %v", err)
	}
	for _, namespace := range []string{"", "a\nb"} {
		if _, err := SSH(t.Context(), k, namespace, bytes.NewReader(message)); !errors.Is(err, key.ErrUsage) {
			t.Errorf("namespace %q: %v", namespace, err)
		}
	}
	failing := failingReader{}
	if _, err := Blob(t.Context(), k, failing); !errors.Is(err, errDisk) {
		t.Errorf("Blob: %v", err)
	}
	if _, err := SSH(t.Context(), k, "file", failing); !errors.Is(err, errDisk) {
		t.Errorf("SSH: %v", err)
	}
	if _, err := Blob(t.Context(), sigtest.NewDigestKey(t, key.P256), failing); !errors.Is(err, errDisk) {
		t.Errorf("Blob with a digest key: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Blob(ctx, k.Key, bytes.NewReader(message)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if len(k.asked) != 0 {
		t.Errorf("the key was asked for %q", k.asked)
	}
}

var errDisk = errors.New("disk on fire")

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errDisk }

// TestText checks the bundles byte for byte, but for the signature.
func TestText(t *testing.T) {
	k := sigtest.NewKey(t, key.RSA2048) // the same signature each time
	spki, err := hex.DecodeString(string(k.Info().ID))
	if err != nil {
		t.Fatal(err)
	}
	head := `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"` +
		base64.StdEncoding.EncodeToString(spki) + `"}},`
	digest := sha256.Sum256(message)
	signature := func(data []byte) string {
		sig, err := k.SignBlob(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(sig)
	}

	blob, err := Blob(t.Context(), k, bytes.NewReader(message))
	want := head + `"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"` +
		base64.StdEncoding.EncodeToString(digest[:]) + `"},"signature":"` + signature(message) + "\"}}\n"
	if err != nil || string(blob) != want {
		t.Errorf("got  %s\nwant %s%v", blob, want, err)
	}
	payload := statement(t)
	envelope, err := Statement(t.Context(), k, payload)
	want = head + `"dsseEnvelope":{"payload":"` + base64.StdEncoding.EncodeToString(payload) +
		`","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"` +
		signature(dsse.PAE(provenance.PayloadType, payload)) + "\"}]}}\n"
	if err != nil || string(envelope) != want {
		t.Errorf("got  %s\nwant %s%v", envelope, want, err)
	}
}

func TestKeypair(t *testing.T) {
	for _, a := range key.Algorithms {
		k := sigtest.NewKey(t, a)
		p, err := NewKeypair(k)
		if err != nil {
			t.Fatal(err)
		}
		pem, err := p.GetPublicKeyPem()
		if err != nil || pem != string(sigtest.PEM(t, k.Info().Public)) {
			t.Errorf("%s: %s, %v", a, pem, err)
		}
		wantHash, wantKey := "SHA2_256", "ECDSA"
		switch a {
		case key.P384:
			wantHash = "SHA2_384"
		case key.P521:
			wantHash = "SHA2_512"
		}
		if a.RSA() {
			wantKey = "RSA"
		}
		if p.GetHashAlgorithm().String() != wantHash || p.GetKeyAlgorithm() != wantKey || p.GetPublicKey() != k.Info().Public {
			t.Errorf("%s: %s, %s", a, p.GetHashAlgorithm(), p.GetKeyAlgorithm())
		}
		if got := CosignWarning(a); (got != "") != (a == key.P384 || a == key.P521) {
			t.Errorf("%s: warning %q", a, got)
		}
	}
}

// TestSSH has ssh-keygen verify what we sign, and refuse what was changed.
func TestSSH(t *testing.T) {
	dir := t.TempDir()
	for _, a := range key.Algorithms {
		k := sigtest.NewKey(t, a)
		armored, err := SSH(t.Context(), k, "file", bytes.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		s, err := sshsig.ParseArmored(armored)
		if err != nil || s.Namespace != "file" || s.Hash != "sha256" {
			t.Errorf("%s: %+v, %v", a, s, err)
		}
		line, err := sshwire.AuthorizedKey(k.Info().Public, "release")
		if err != nil {
			t.Fatal(err)
		}
		allowed, signature := filepath.Join(dir, "allowed"), filepath.Join(dir, "signature")
		if err := errors.Join(os.WriteFile(allowed, append([]byte("me@example.com "), line...), 0o600), os.WriteFile(signature, armored, 0o600)); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			message []byte
			good    bool
		}{{message, true}, {[]byte("what is singed\n"), false}} {
			verify := exec.CommandContext(t.Context(), testenv.Need(t, testenv.SSHKeygen),
				"-Y", "verify", "-f", allowed, "-I", "me@example.com", "-n", "file", "-s", signature)
			verify.Stdin = bytes.NewReader(c.message)
			if out, err := verify.CombinedOutput(); (err == nil) != c.good {
				t.Errorf("%s: ssh-keygen on %q: %v\n%s", a, c.message, err, out)
			}
		}
	}
}
