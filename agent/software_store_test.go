package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"
	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// heldKey is a software key that is in no agent yet.
func heldKey(t testing.TB, life time.Duration) *softwareKey {
	t.Helper()
	private := newEd25519(t)
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	k, err := newSoftwareKey(&addedKey{private: private, public: public, constraints: constraints{lifetime: life}}, 100)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func agree(*softwareKey) error { return nil }

func TestSoftwareLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone []*softwareKey
		s := softwareKeys{gone: func(k *softwareKey) { gone = append(gone, k) }}
		short, long := heldKey(t, time.Minute), heldKey(t, 0)
		for _, k := range []*softwareKey{short, long} {
			if err := s.add(k, agree); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute - time.Second)
		if len(s.list()) != 2 {
			t.Error("gone too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		// By the timer: nobody has asked.
		if len(gone) != 1 || gone[0] != short {
			t.Errorf("%d gone", len(gone))
		}
		if _, err := short.sign([]byte("x"), ssh.KeyAlgoED25519); err == nil {
			t.Error("signs after its end")
		}
		// The machine slept: the timer has not fired yet.
		late := heldKey(t, time.Hour)
		if err := s.add(late, agree); err != nil {
			t.Fatal(err)
		}
		late.expires = time.Now().Round(0)
		if s.find(late.blob) != nil || s.find(long.blob) == nil {
			t.Error("found after its end, or not before it")
		}
		s.close()
		if err := s.add(long, agree); err == nil || len(gone) != 3 {
			t.Error("added to what is closed")
		}
	})
}

// TestSoftwareKeysWhileOneIsAdded: a record that waits for the audit log holds nobody
// up but who adds keys.
func TestSoftwareKeysWhileOneIsAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := softwareKeys{gone: func(*softwareKey) {}}
		defer s.close()
		there, replaced, added := heldKey(t, 0), heldKey(t, 0), heldKey(t, 0)
		for _, k := range []*softwareKey{there, replaced} {
			if err := s.add(k, agree); err != nil {
				t.Fatal(err)
			}
		}
		again := *added
		again.blob = replaced.blob
		recorded := make(chan struct{})
		result := make(chan error, 1)
		go func() { result <- s.add(&again, func(*softwareKey) error { <-recorded; return nil }) }()
		synctest.Wait()
		listed := make(chan int, 1)
		go func() { listed <- len(s.list()) }()
		synctest.Wait()
		select {
		case n := <-listed:
			if n != 2 {
				t.Errorf("%d keys are listed", n)
			}
		default:
			t.Error("a list waits for the record")
		}
		// The one that is to be replaced goes meanwhile.
		go s.remove(func(k *softwareKey) bool { return k == replaced })
		synctest.Wait()
		close(recorded)
		if err := <-result; err != nil || len(s.list()) != 2 || s.find(replaced.blob) != &again {
			t.Errorf("%d keys, %v", len(s.list()), err)
		}
		if s.size != there.size+again.size {
			t.Errorf("size %d", s.size)
		}
	})
}

func TestSoftwareKeysAreBounded(t *testing.T) {
	s := softwareKeys{gone: func(*softwareKey) {}}
	defer s.close()
	k := heldKey(t, 0)
	k.size = limits.SoftwareSize + 1
	if err := s.add(k, agree); err == nil {
		t.Error("a key of any size is kept")
	}
	k.size = limits.SoftwareSize
	if err := s.add(k, agree); err != nil {
		t.Fatal(err)
	}
	again := *k
	if err := s.add(&again, func(old *softwareKey) error {
		if old != k {
			t.Error("the old key is not shown")
		}
		return fmt.Errorf("no: %w", key.ErrDenied)
	}); err == nil || s.find(k.blob) != k {
		t.Error("a refused key took the place of another")
	}
	if n := s.remove(func(*softwareKey) bool { return true }); n != 1 || s.size != 0 {
		t.Errorf("%d removed, %d bytes left", n, s.size)
	}
	for range limits.SoftwareKeys {
		if err := s.add(heldKey(t, 0), agree); err != nil {
			t.Fatal(err)
		}
	}
	last := heldKey(t, 0)
	defer last.private.Wipe()
	if err := s.add(last, agree); err == nil {
		t.Error("any number of keys is kept")
	}
}

// TestSoftwareKeyEndsBeforeTheAnswer: its time is over when a person says yes, and the
// timer, which does not count a sleep of the machine, has not fired.
func TestSoftwareKeyEndsBeforeTheAnswer(t *testing.T) {
	h := start(t, nil)
	client, _ := h.dialSSH()
	k := softKeys()[0]
	if err := client.Add(sshagent.AddedKey{PrivateKey: k.private, ConfirmBeforeUse: true, LifetimeSecs: 3600}); err != nil {
		t.Fatal(err)
	}
	h.person.confirm = func(context.Context, Question) error {
		held := h.server.software.find(k.signer.PublicKey().Marshal())
		held.expires = time.Now().Round(0)
		return nil
	}
	if _, err := client.Sign(k.signer.PublicKey(), []byte("x")); err == nil {
		t.Error("signed after its end")
	}
	if r := h.lastRecord(); r.Action != "sign" || r.Code != "not_found" {
		t.Errorf("audit %+v", r)
	}
}

// TestListHasItsLimit: a client refuses an answer that is longer than a message.
func TestListHasItsLimit(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	for range 3 {
		k := heldKey(t, 0)
		k.info.Comment = strings.Repeat("x", limits.AgentFrame/2-500)
		if err := h.server.software.add(k, agree); err != nil {
			t.Fatal(err)
		}
	}
	conn := h.dialRaw()
	if got := exchange(t, conn, []byte{agentRequestIdentities}); len(got) > limits.AgentFrame {
		t.Errorf("an answer of %d bytes", len(got))
	}
	client, _ := h.dialSSH()
	if all, err := client.List(); err != nil || len(all) != 3 || all[0].Comment != in.Comment {
		t.Errorf("lists %d keys, %v", len(all), err)
	}
}

// TestAddBesideABrokenKey: an unreadable key file keeps nobody from using ssh-add.
func TestAddBesideABrokenKey(t *testing.T) {
	h := start(t, nil)
	h.backend.Broken = &key.KeyError{Ref: key.Ref{Backend: "tpm", Name: "broken"}, Err: errors.New("cut")}
	client, _ := h.dialSSH()
	k := softKeys()[0]
	if err := client.Add(sshagent.AddedKey{PrivateKey: k.private}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sign(k.signer.PublicKey(), []byte("x")); err != nil {
		t.Error(err)
	}
}
