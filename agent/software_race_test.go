package agent

import (
	"fmt"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"
)

// TestSoftwareRaces: clients add, remove, list, use and lock at once. Nobody gets a wrong
// signature or another's key, and at the end all is as one client left it.
func TestSoftwareRaces(t *testing.T) {
	h := start(t, nil)
	h.server.refusals = nil // they are to be quick
	const clients, rounds = 6, 15
	var all sync.WaitGroup
	for n := range clients {
		client, _ := h.dialSSH()
		private := newEd25519(t)
		public, err := ssh.NewPublicKey(private.Public())
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			for i := range rounds {
				client.Add(sshagent.AddedKey{PrivateKey: private, Comment: fmt.Sprint(n), LifetimeSecs: uint32(i % 2)})
				data := fmt.Append(nil, n, i)
				// It may be gone, or all locked.
				if s, err := client.Sign(public, data); err == nil && public.Verify(data, s) != nil {
					t.Errorf("client %d has a wrong signature", n)
				}
				if keys, err := client.List(); err != nil || len(keys) > clients {
					t.Errorf("client %d listed %v, %v", n, keys, err)
				}
				switch n {
				case 0:
					if client.Lock([]byte("p")) == nil {
						if err := client.Unlock([]byte("p")); err != nil {
							t.Errorf("unlock: %v", err)
						}
					}
				case 1:
					client.RemoveAll()
				default:
					client.Remove(public)
				}
			}
		})
	}
	all.Wait()
	client, _ := h.dialSSH()
	if err := client.RemoveAll(); err != nil {
		t.Error(err)
	}
	if keys, err := client.List(); err != nil || len(keys) != 0 || h.server.software.size != 0 {
		t.Errorf("left: %v, %d bytes, %v", keys, h.server.software.size, err)
	}
	if got, err := CheckAuditLog(h.audit, true, ""); err != nil {
		t.Errorf("a check of the audit log finds %+v, %v", got, err)
	}
}
