package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sshagent "golang.org/x/crypto/ssh/agent"

	"github.com/sealsmith/sealsmith/key"
)

// TestLock: what works while the agent is locked, and what does not.
func TestLock(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	release := h.key(key.Spec{Name: "release", Usage: key.Artifact, Unattended: true})
	client, _ := h.dialSSH()
	soft := softKeys()[0]
	if err := client.Add(sshagent.AddedKey{PrivateKey: soft.private}); err != nil {
		t.Fatal(err)
	}
	if err := client.Lock(nil); err == nil {
		t.Error("locked with an empty passphrase")
	}
	if err := client.Lock([]byte("open sesame")); err != nil {
		t.Fatal(err)
	}
	if r := h.lastRecord(); r.Action != "lock" || r.Outcome != outcomeDone {
		t.Errorf("audit %+v", r)
	}
	server := newHost(t)
	for name, f := range map[string]func() error{
		"sign, hardware": func() error { _, err := client.Sign(sshKey(t, in), sshsigData(t, "git")); return err },
		"sign, software": func() error { _, err := client.Sign(soft.signer.PublicKey(), []byte("x")); return err },
		"add":            func() error { return client.Add(sshagent.AddedKey{PrivateKey: softKeys()[1].private}) },
		"remove":         func() error { return client.Remove(soft.signer.PublicKey()) },
		"remove all":     client.RemoveAll,
		"lock again":     func() error { return client.Lock([]byte("open sesame")) },
		"query":          func() error { _, err := client.Extension(extensionQuery, nil); return err },
	} {
		if err := f(); err == nil {
			t.Errorf("%s: works", name)
		}
		if r := h.lastRecord(); strings.HasPrefix(name, "sign") && (r.Action != "sign" || r.Code != "locked" || r.Outcome != outcomeRefused) {
			t.Errorf("%s: audit %+v", name, r)
		}
	}
	if got := h.list(client); len(got) != 0 {
		t.Errorf("lists %q", got)
	}
	if _, err := client.Extension(extensionBind, server.bind(t, []byte("s"), true)); err != nil {
		t.Errorf("session-bind: %v", err)
	}
	control := h.client()
	for name, f := range map[string]func() error{
		"sign":   func() error { return h.signBlob(control, release) },
		"delete": func() error { return control.Delete(t.Context(), in) },
		"create": func() error {
			_, err := control.Create(t.Context(), key.Spec{Name: "new", Usage: key.SSH, Algorithm: key.P256})
			return err
		},
		"attest": func() error { _, err := control.Attest(t.Context(), in, nil); return err },
		"answer": func() error { _, err := control.Answer(t.Context(), []byte("challenge")); return err },
	} {
		if err := f(); !errors.Is(err, key.ErrLocked) {
			t.Errorf("control API, %s: %v", name, err)
		}
	}
	if listed, err := control.List(t.Context()); err != nil || len(listed) != 2 {
		t.Errorf("control API lists %v, %v", listed, err)
	}
	if err := client.Unlock([]byte("open barley")); err == nil {
		t.Error("unlocked with another passphrase")
	}
	if r := h.lastRecord(); r.Action != "unlock" || r.Outcome != outcomeRefused {
		t.Errorf("audit %+v", r)
	}
	if err := client.Unlock([]byte("open sesame")); err != nil {
		t.Fatal(err)
	}
	if err := client.Unlock([]byte("open sesame")); err == nil {
		t.Error("unlocked twice")
	}
	if got := h.list(client); len(got) != 2 {
		t.Errorf("afterwards lists %q", got)
	}
	if _, err := client.Sign(soft.signer.PublicKey(), []byte("x")); err != nil {
		t.Error(err)
	}
	if err := h.signBlob(control, release); err != nil {
		t.Error(err)
	}
	if got := exchange(t, h.dialRaw(), []byte{agentLock, 0, 0}); !bytes.Equal(got, []byte{agentFailure}) {
		t.Errorf("a malformed lock is answered by %x", got)
	}
}

func (h *harness) signBlob(c *Client, in key.Info) error {
	s, err := c.Key(h.t.Context(), in.Ref, "")
	if err != nil {
		return err
	}
	_, err = s.SignBlob(h.t.Context(), []byte("message"))
	return err
}

// TestLockEndsWhatWaits: a prompt is withdrawn, and a yes that comes too late counts
// for nothing.
func TestLockEndsWhatWaits(t *testing.T) {
	h := start(t, nil)
	client, _ := h.dialSSH()
	soft := softKeys()[0]
	if err := client.Add(sshagent.AddedKey{PrivateKey: soft.private, ConfirmBeforeUse: true}); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	h.person.confirm = func(ctx context.Context, _ Question) error {
		close(asked)
		<-ctx.Done()
		return nil // the yes
	}
	result := make(chan error, 1)
	go func() {
		_, err := client.Sign(soft.signer.PublicKey(), []byte("x"))
		result <- err
	}()
	<-asked
	if err := h.server.Lock([]byte("p")); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err == nil {
		t.Error("signed after the lock")
	}
	if r := h.lastRecord(); r.Action != "sign" || r.Code != "locked" {
		t.Errorf("audit %+v", r)
	}
}

// TestLockForgetsPINs: also one that a device accepts while the agent is being locked.
func TestLockForgetsPINs(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		d := newDevice(pins, key.SSH, false)
		p.pins = []string{"1234"}
		s := NewServer(Config{PINs: pins})
		sign := func(asked int) {
			t.Helper()
			if err := d.sign(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := len(p.questions()); got != asked {
				t.Errorf("asked %d times, want %d", got, asked)
			}
		}
		sign(1)
		sign(0)
		if err := s.Lock([]byte("p")); err != nil {
			t.Fatal(err)
		}
		sign(1) // as if it had begun before
		if err := s.Unlock(t.Context(), 1, []byte("p")); err != nil {
			t.Fatal(err)
		}
		sign(1)
		sign(0)
	})
}

// TestUnlockDelay: after each wrong passphrase the next try waits, longer each time,
// whoever makes it and whether or not the last one waited for its answer.
func TestUnlockDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pins := NewPINs(&person{})
		defer pins.Close()
		s := NewServer(Config{PINs: pins})
		unlock := func(ctx context.Context, pid int, passphrase string) (waited time.Duration, err error) {
			begun := time.Now()
			err = s.Unlock(ctx, pid, []byte(passphrase))
			return time.Since(begun), err
		}
		if _, err := unlock(t.Context(), 1, "p"); !errors.Is(err, key.ErrUsage) {
			t.Errorf("unlock when it is not locked: %v", err)
		}
		if err := s.Lock([]byte("p")); err != nil {
			t.Fatal(err)
		}
		var waits []time.Duration
		for i := range 7 {
			if i == 4 {
				s.lock.failures = 99
			}
			waited, err := unlock(t.Context(), i, "q")
			if !errors.Is(err, key.ErrDenied) {
				t.Fatal(err)
			}
			waits = append(waits, waited.Round(100*time.Millisecond))
		}
		want := []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond, 400 * time.Millisecond, 10 * time.Second, 10 * time.Second}
		if !slices.Equal(waits, want) {
			t.Errorf("waited %v, want %v", waits, want)
		}
		// One that goes away has not tried, and does not make the next one faster.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if waited, err := unlock(ctx, 1, "q"); !errors.Is(err, context.DeadlineExceeded) || waited != time.Second {
			t.Errorf("waited %v for nobody: %v", waited, err)
		}
		if s.lock.failures != 102 {
			t.Errorf("%d tries failed, want 102", s.lock.failures)
		}
		// A process that guesses has one place in the queue.
		guess := make(chan error, 1)
		go func() { _, err := unlock(t.Context(), 1, "q"); guess <- err }()
		synctest.Wait()
		if waited, err := unlock(t.Context(), 1, "q"); !errors.Is(err, key.ErrBusy) || waited != 0 {
			t.Errorf("a second guess at the same time waited %v: %v", waited, err)
		}
		if waited, err := unlock(t.Context(), 2, "p"); err != nil || waited > 20*time.Second {
			t.Errorf("the right one waited %v: %v", waited, err)
		}
		if err := <-guess; !errors.Is(err, key.ErrDenied) {
			t.Errorf("a guess: %v", err)
		}
		// Counted anew.
		if err := s.Lock([]byte("p")); err != nil {
			t.Fatal(err)
		}
		if waited, err := unlock(t.Context(), 1, "p"); err != nil || waited != 0 {
			t.Errorf("waited %v: %v", waited, err)
		}
		if len(s.lock.trying) != 0 {
			t.Errorf("still trying: %v", s.lock.trying)
		}
	})
}

// TestLockEndsControlRequests: one that waits for a person, and one whose body comes
// after the lock.
func TestLockEndsControlRequests(t *testing.T) {
	h := start(t, nil)
	asked := make(chan struct{})
	h.person.pin = func(ctx context.Context, _ Question) (string, error) {
		close(asked)
		<-ctx.Done()
		return "", key.ErrDenied
	}
	result := make(chan error, 1)
	client := h.client()
	go func() {
		_, err := client.CreateWithPrompt(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
		result <- err
	}()
	<-asked
	conn, err := net.Dial("unix", h.control)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const body = `{"challenge":"eA=="}`
	fmt.Fprintf(conn, "POST /v1/device/answer HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	for begun := 0; begun < 2; time.Sleep(time.Millisecond) {
		h.server.uses.mu.Lock()
		begun = len(h.server.uses.all)
		h.server.uses.mu.Unlock()
	}
	if err := h.server.Lock([]byte("p")); err != nil {
		t.Fatal(err)
	}
	if err := <-result; !errors.Is(err, key.ErrLocked) {
		t.Errorf("create: %v", err)
	}
	fmt.Fprint(conn, body)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusLocked {
		t.Errorf("answer: %s", answer.Status)
	}
}

// TestLockThenUnlock: who unlocks waits for who locks, so that both leave one state.
func TestLockThenUnlock(t *testing.T) {
	pins := NewPINs(&person{})
	defer pins.Close()
	s := NewServer(Config{PINs: pins})
	s.uses.mu.Lock() // holds Lock up in the middle
	var both sync.WaitGroup
	both.Go(func() {
		if err := s.Lock([]byte("p")); err != nil {
			t.Error(err)
		}
	})
	for s.locked() == nil {
		time.Sleep(time.Millisecond)
	}
	unlocked := make(chan error, 1)
	both.Go(func() { unlocked <- s.Unlock(t.Context(), 1, []byte("p")) })
	select {
	case err := <-unlocked:
		t.Errorf("unlocked in the middle of a lock: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	s.uses.mu.Unlock()
	both.Wait()
	if s.locked() != nil || pins.locked {
		t.Errorf("locked: %v; remembers no PIN: %v", s.locked(), pins.locked)
	}
}
