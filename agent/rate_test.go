package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(pace{2, time.Second}, pace{4, time.Second})
		counts := func(pid int, want time.Duration) {
			t.Helper()
			if got := r.count(pid); got != want {
				t.Errorf("process %d waits %v, want %v", pid, got, want)
			}
		}
		counts(1, 0)
		counts(1, 0)
		counts(1, time.Second) // the third in a row
		if r.over(1) != time.Second || r.over(2) != 0 {
			t.Errorf("over: %v, %v", r.over(1), r.over(2))
		}
		counts(2, 0)
		counts(3, time.Second) // the fifth of all
		counts(0, 2*time.Second)
		time.Sleep(time.Minute)
		counts(1, 0)
		counts(0, 0)
		counts(0, 0)
		counts(0, time.Second) // as one process, whoever they are
		var none *rate
		if none.count(1) != 0 || none.over(1) != 0 {
			t.Error("no rate bounds something")
		}
	})
}

// TestRateMemory: processes that come and go take no memory without bound.
func TestRateMemory(t *testing.T) {
	r := newRate(pace{1, time.Hour}, pace{1, time.Nanosecond})
	for pid := range 3 * limits.RateProcesses {
		r.count(pid)
	}
	if n := len(r.next); n > limits.RateProcesses {
		t.Errorf("remembers %d processes", n)
	}
}

// TestRefusalsSlowDown: a client that is refused on and on gets slow, and only that.
func TestRefusalsSlowDown(t *testing.T) {
	h := start(t, nil)
	h.server.refusals = newRate(pace{2, 50 * time.Millisecond}, pace{100, time.Millisecond})
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	client, _ := h.dialSSH()
	began := time.Now()
	for range 5 {
		if _, err := client.Sign(sshKey(t, in), []byte("of no known kind")); err == nil {
			t.Fatal("signed")
		}
	}
	if took := time.Since(began); took < 80*time.Millisecond {
		t.Errorf("five refusals took %v", took)
	}
	began = time.Now()
	if _, err := client.Sign(sshKey(t, in), sshsigData(t, "git")); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("signed after %v, %v", time.Since(began), err)
	}
}

// TestChangesSlowDown: so does a client that changes what the agent holds on and on,
// which costs nothing and makes a record each time.
func TestChangesSlowDown(t *testing.T) {
	for name, message := range map[string][]byte{
		"add":           append([]byte{agentAddIdentity}, addMessage(t, newEd25519(t), "")...),
		"add, refused":  {agentAddIdentity, 0},
		"remove all":    {agentRemoveAll},
		"lock, refused": {agentLock, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, nil)
			h.server.refusals = newRate(pace{2, 50 * time.Millisecond}, pace{100, time.Millisecond})
			conn := h.dialRaw()
			began := time.Now()
			for range 5 {
				exchange(t, conn, message)
			}
			if took := time.Since(began); took < 80*time.Millisecond {
				t.Errorf("five took %v", took)
			}
		})
	}
}

// TestCountedAtOnce: what waits for its record counts already, so that a crowd of requests
// is no way around the pace.
func TestCountedAtOnce(t *testing.T) {
	for name, message := range map[string][]byte{
		"remove all":   {agentRemoveAll},
		"add, refused": {agentAddIdentity, 0},
		"sign, refused": append([]byte{agentSignRequest}, ssh.Marshal(signRequest{
			Key: softKeys()[0].signer.PublicKey().Marshal(), Data: []byte("x"),
		})...),
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, nil)
			h.server.refusals = newRate(pace{0, time.Hour}, pace{})
			h.server.config.Audit.mu.Lock()
			defer h.server.config.Audit.mu.Unlock()
			if err := writeFrame(h.dialRaw(), message); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it counts", func() bool { return h.server.refusals.over(os.Getpid()) > 0 })
		})
	}
}

// TestControlSlowsDown: so does one that does it on the control socket.
func TestControlSlowsDown(t *testing.T) {
	h := start(t, nil)
	h.server.refusals = newRate(pace{2, 50 * time.Millisecond}, pace{100, time.Millisecond})
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	c := h.client()
	for name, request := range map[string]func() error{
		"reload": func() error { _, err := c.Reload(t.Context()); return err },
		"unlock": func() error {
			return c.call(t.Context(), "POST", "/v1/unlock", lockRequest{"x"}, &struct{}{})
		},
		"attest": func() error { _, err := c.Attest(t.Context(), in, nil); return err },
	} {
		began := time.Now()
		for range 5 {
			if err := request(); err == nil {
				t.Errorf("%s worked", name)
			}
		}
		if took := time.Since(began); took < 80*time.Millisecond {
			t.Errorf("%s: five took %v", name, took)
		}
	}
}

// TestLooksAreNotSlow: what changes nothing does not wait.
func TestLooksAreNotSlow(t *testing.T) {
	h := start(t, nil)
	h.server.refusals = newRate(pace{0, time.Hour}, pace{})
	h.server.refusals.count(os.Getpid())
	if _, err := h.client().Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNoIsNo: a person who said no often enough is left alone for a while.
func TestNoIsNo(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		d := newDevice(pins, key.SSH, false)
		ask := func(pid int) error {
			q := Question{Peer: Peer{PID: pid}}
			return pins.confirm(t.Context(), d.info.ID, q)
		}
		for range limits.Noes {
			ask(1)
		}
		asked := len(p.questions())
		for range 3 {
			if err := ask(1); err != nil && !errors.Is(err, key.ErrDenied) {
				t.Fatal(err)
			}
		}
		if n := len(p.questions()); asked != limits.Noes || n != 1 {
			t.Errorf("asked %d times, then %d times more", asked, n)
		}
		if err := ask(1); !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "answered with no") {
			t.Errorf("got %v", err)
		}
		ask(2)
		if n := len(p.questions()); n != 1 {
			t.Error("another process is not asked about")
		}
		p.confirm = yes
		time.Sleep(limits.NoTime)
		for range 3 * limits.Noes {
			if err := ask(1); err != nil {
				t.Fatalf("after a while: %v", err)
			}
		}
	})
}

// TestNoToAll: so it is for those who asked about many keys before the first no.
func TestNoToAll(t *testing.T) {
	inBubble(t, func(t *testing.T, p *person, pins *PINs) {
		p.confirm = func(context.Context, Question) error {
			time.Sleep(time.Second)
			return key.ErrDenied
		}
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				if err := pins.confirm(t.Context(), key.ID(fmt.Sprint(i)), Question{Peer: Peer{PID: 1}}); !errors.Is(err, key.ErrDenied) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := len(p.questions()); n < limits.Noes || n > limits.Noes+limits.Prompts {
			t.Errorf("asked %d times", n)
		}
	})
}
