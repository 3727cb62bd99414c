package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

// secrets are PINs that clients handed over for one use. They wait outside the
// request that uses them, so that no JSON ever holds a PIN.
type secrets struct {
	mu      sync.Mutex
	waiting map[string]*waitingSecret
}

type waitingSecret struct {
	buf   *secret.Buffer
	uid   int // who may use it
	timer *time.Timer
}

// put keeps a secret for its peer and returns its one-time name. It owns buf.
func (s *secrets) put(uid int, buf *secret.Buffer) (name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) >= limits.Secrets {
		buf.Wipe()
		return "", hint.Wrap(&classError{fmt.Sprintf("%d secrets wait to be used", len(s.waiting)), key.ErrBusy},
			fmt.Sprintf("each is forgotten after %v", limits.SecretLife))
	}
	if s.waiting == nil {
		s.waiting = map[string]*waitingSecret{}
	}
	name = rand.Text()
	w := &waitingSecret{buf: buf, uid: uid}
	w.timer = time.AfterFunc(limits.SecretLife, func() {
		if late := s.take(name, uid); late != nil {
			late.Wipe()
		}
	})
	s.waiting[name] = w
	return name, nil
}

// take removes a secret and returns it, or nil if its peer has none of the name.
func (s *secrets) take(name string, uid int) *secret.Buffer {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[name]
	if w == nil || w.uid != uid {
		return nil
	}
	delete(s.waiting, name)
	w.timer.Stop()
	return w.buf
}

// lend makes a [key.LendFunc] that uses the secret up.
func (s *secrets) lend(name string, uid int) key.LendFunc {
	return func(_ context.Context, use func(secret []byte) error) error {
		buf := s.take(name, uid)
		if buf == nil {
			return hint.Wrap(fmt.Errorf("no secret of that name: %w", key.ErrUsage),
				fmt.Sprintf("a secret can be used once, by the user who sent it, within %v", limits.SecretLife))
		}
		defer buf.Wipe()
		return buf.Use(use)
	}
}

// wipe forgets everything.
func (s *secrets) wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waiting {
		w.timer.Stop()
		w.buf.Wipe()
	}
	clear(s.waiting)
}
