package agenttest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// kinds are the kinds of keys that both agents hold.
var kinds = []string{"ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa"}

// privateKeys are one key of each kind: only their making takes long.
var privateKeys = sync.OnceValues(func() (map[string]any, error) {
	all := map[string]any{}
	for kind, curve := range map[string]elliptic.Curve{"ecdsa-256": elliptic.P256(), "ecdsa-384": elliptic.P384(), "ecdsa-521": elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			return nil, err
		}
		all[kind] = k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	all["ed25519"] = ed
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	all["rsa"] = k
	return all, err
})

// key writes the key of a kind, as ssh-keygen would, and returns its public line.
func (s *subject) key(kind string) string {
	s.t.Helper()
	all, err := privateKeys()
	if err != nil {
		s.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(all[kind], kind)
	if err != nil {
		s.t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(all[kind])
	if err != nil {
		s.t.Fatal(err)
	}
	public := string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	line := public[:len(public)-1] + " " + kind
	s.write(kind, string(pem.EncodeToMemory(block)), 0o600)
	s.write(kind+".pub", line+"\n", 0o600)
	return line
}

// added is key for one that the agent gets, with these options of ssh-add.
func (s *subject) added(kind string, options ...string) string {
	s.t.Helper()
	line := s.key(kind)
	s.must(testenv.SSHAdd, append(append([]string{"-q"}, options...), s.path(kind))...)
	return line
}
