package agent

import (
	"errors"
	"testing"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/key"
)

// TestLockByControl: locked, the agent signs nothing and has forgotten the PINs.
func TestLockByControl(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH, PIN: keytest.Lend([]byte("1234"))})
	c := h.client()
	right, wrong := keytest.Lend([]byte("open sesame")), keytest.Lend([]byte("open barley"))
	if err := c.Unlock(t.Context(), right); !errors.Is(err, key.ErrUsage) {
		t.Errorf("unlock what is not locked: %v", err)
	}
	if err := errors.Join(c.UnlockKey(t.Context(), in, keytest.Lend([]byte("1234"))), c.Lock(t.Context(), right)); err != nil {
		t.Fatal(err)
	}
	if r := h.lastRecord(); r.Action != "lock" || r.Socket != SocketControl || r.Outcome != outcomeDone {
		t.Errorf("recorded %+v", r)
	}
	if s, err := c.Status(t.Context()); err != nil || !s.Locked || len(s.PINs) != 0 {
		t.Errorf("status %+v, %v", s, err)
	}
	for what, err := range map[string]error{
		"lock again": c.Lock(t.Context(), right),
		"unlock key": c.UnlockKey(t.Context(), in, keytest.Lend([]byte("1234"))),
		"delete":     c.Delete(t.Context(), in),
	} {
		if !errors.Is(err, key.ErrLocked) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := c.Unlock(t.Context(), wrong); !errors.Is(err, key.ErrDenied) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if r := h.lastRecord(); r.Action != "unlock" || r.Outcome != outcomeRefused {
		t.Errorf("recorded %+v", r)
	}
	if err := c.call(t.Context(), "POST", "/v1/unlock", lockRequest{"x"}, &struct{}{}); !errors.Is(err, key.ErrUsage) {
		t.Errorf("unknown secret: %v", err)
	}
	if err := c.Unlock(t.Context(), right); err != nil {
		t.Fatal(err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Locked {
		t.Errorf("status %+v, %v", s, err)
	}
}
