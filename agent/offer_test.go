package agent

import (
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

func TestOffer(t *testing.T) {
	theirs, upstream := newOpenSSHAgent(t)
	soft := softKeys()
	for _, k := range soft[:2] {
		if err := upstream.Add(sshagent.AddedKey{PrivateKey: k.private, Comment: "their " + k.name}); err != nil {
			t.Fatal(err)
		}
	}
	h := start(t, func(c *Config) {
		c.Upstreams = []Upstream{{Path: theirs.path}}
		c.Offer = Offer{
			{Fingerprint: ssh.FingerprintSHA256(soft[1].signer.PublicKey())},
			{Ref: key.Ref{Name: "b"}}, {Ref: key.Ref{Backend: "tpm", Name: "ca"}},
		}
	})
	a, b := h.key(key.Spec{Name: "a", Usage: key.SSH}), h.key(key.Spec{Name: "b", Usage: key.SSH})
	h.key(key.Spec{Name: "ca", Usage: key.SSHCA})
	client, _ := h.dialSSH()
	if err := client.Add(sshagent.AddedKey{PrivateKey: soft[2].private, Comment: "added"}); err != nil {
		t.Fatal(err)
	}
	if got, want := h.list(client), []string{"their P-256", "b", "ca", "added"}; !slices.Equal(got, want) {
		t.Errorf("listed %q; want %q", got, want)
	}
	data := sshsigData(t, "git")
	for _, c := range []struct {
		key ssh.PublicKey
		ok  bool
	}{{sshKey(t, a), false}, {sshKey(t, b), true}, {soft[0].signer.PublicKey(), false}, {soft[1].signer.PublicKey(), true}, {soft[2].signer.PublicKey(), true}} {
		if _, err := client.Sign(c.key, data); (err == nil) != c.ok {
			t.Errorf("sign with %s: %v", sshwire.Fingerprint(c.key.Marshal()), err)
		}
	}
	// Its other socket is not of ssh's concern.
	if _, err := h.client().Resolve(t.Context(), key.Ref{Name: "a"}); err != nil {
		t.Error(err)
	}
	h.server.apply(Settings{Offer: Offer{{Ref: key.Ref{ID: a.ID[:8]}}}})
	if got, want := h.list(client), []string{"a", "added"}; !slices.Equal(got, want) {
		t.Errorf("listed after a reload: %q; want %q", got, want)
	}
}
