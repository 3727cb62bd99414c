package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// typist answers with the lines that it has, and keeps the questions.
type typist struct {
	lines []string
	asked []prompt.Prompt
}

// Confirm implements [prompt.Prompter].
func (*typist) Confirm(context.Context, prompt.Prompt) error { return prompt.ErrCancelled }

// PIN implements [prompt.Prompter].
func (p *typist) PIN(_ context.Context, q prompt.Prompt) (*secret.Buffer, error) {
	p.asked = append(p.asked, q)
	if len(p.lines) == 0 {
		return nil, prompt.ErrCancelled
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	return secret.Read(strings.NewReader(line), len(line))
}

// encryptedKey is a private key file with the passphrase "open sesame".
func encryptedKey(t *testing.T) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 keys of this form exist, and this one is quick.
	block, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", der, []byte("open sesame"), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), k
}

func TestAskPassphrase(t *testing.T) {
	data, want := encryptedKey(t)
	for name, c := range map[string]struct {
		lines []string
		asked int
		err   error
	}{
		"right":           {[]string{"open sesame"}, 1, nil},
		"right at last":   {[]string{"open barley", "barley", "open sesame"}, 3, nil},
		"never":           {[]string{"a", "b", "c", "open sesame"}, 3, sshwire.ErrWrongPassphrase},
		"cancelled":       {nil, 1, prompt.ErrCancelled},
		"cancelled later": {[]string{"a"}, 2, prompt.ErrCancelled},
	} {
		p := &typist{lines: c.lines}
		k, err := askPassphrase(t.Context(), p, data, "id\nFile: other")
		if !errors.Is(err, c.err) || c.err != nil && !errors.Is(err, key.ErrDenied) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if c.err == nil && (k == nil || !want.PublicKey.Equal(k.Public())) {
			t.Errorf("%s: another key", name)
		}
		if len(p.asked) != c.asked {
			t.Errorf("%s: asked %d times, want %d", name, len(p.asked), c.asked)
		}
		for i, q := range p.asked {
			if (q.Error != "") != (i > 0) || q.Secret != "Passphrase" || !q.Facts[0].Quoted {
				t.Errorf("%s: question %d: %+v", name, i, q)
			}
		}
	}
}
