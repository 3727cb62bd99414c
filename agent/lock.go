package agent

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/scrypt"
	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// lock says whether the agent is locked. It is safe for concurrent use.
type lock struct {
	// hashing is held while a passphrase is hashed: one at a time bounds the
	// memory, and slows down who guesses on many connections.
	hashing sync.Mutex
	// turning is held while it is locked or unlocked, with all that follows from
	// that. It comes before mu.
	turning sync.Mutex

	mu       sync.Mutex
	salt     []byte
	hash     []byte    // of the passphrase; nil: not locked
	failures int       // wrong passphrases since it was locked
	rested   time.Time // when the next may be tried

	// turn is held by who tries a passphrase, in the order of coming, and trying
	// are the processes that wait for it or have it.
	turn   chan struct{}
	trying map[int]bool
}

func newLock() lock { return lock{turn: make(chan struct{}, 1), trying: map[int]bool{}} }

var (
	errLocked    = hint.Wrap(fmt.Errorf("the agent does nothing until it is unlocked: %w", key.ErrLocked), "unlock it with: ssh-add -X, or: sealsmith agent unlock")
	errNotLocked = fmt.Errorf("the agent is not locked: %w", key.ErrUsage)
	errTrying    = &classError{"the process tries another passphrase", key.ErrBusy}
	errUnlock    = fmt.Errorf("wrong passphrase: %w", key.ErrDenied)
)

// locked is the error of what the agent does not do while it is locked, or nil.
func (s *Server) locked() error {
	s.lock.mu.Lock()
	defer s.lock.mu.Unlock()
	if s.lock.hash != nil {
		return errLocked
	}
	return nil
}

// unlocked refuses a request of the control API while the agent is locked, and ends one
// that waits when it is.
func (s *Server) unlocked(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) (int, any, error) {
		ctx, done := s.uses.begin(r.Context(), noKey)
		defer done()
		if err := s.locked(); err != nil {
			return 0, nil, err
		}
		status, answer, err := h(w, r.WithContext(ctx))
		if cause := context.Cause(ctx); err != nil && errors.Is(cause, key.ErrLocked) {
			err = cause
		}
		return status, answer, err
	}
}

// Lock has the agent sign nothing, show no software key and forget every PIN until
// it is unlocked. What waits to be signed is refused. It keeps no passphrase, only a
// hash. It fails with [key.ErrLocked] if the agent is locked, and with [key.ErrUsage]
// for an empty passphrase.
func (s *Server) Lock(passphrase []byte) error {
	if len(passphrase) == 0 {
		return fmt.Errorf("empty passphrase: %w", key.ErrUsage)
	}
	salt := make([]byte, limits.LockSalt)
	rand.Read(salt)
	hash, err := s.lock.hashOf(passphrase, salt)
	if err != nil {
		return err
	}
	s.lock.turning.Lock()
	defer s.lock.turning.Unlock()
	s.lock.mu.Lock()
	if s.lock.hash != nil {
		s.lock.mu.Unlock()
		return errLocked
	}
	s.lock.salt, s.lock.hash, s.lock.failures, s.lock.rested = salt, hash, 0, time.Time{}
	s.lock.mu.Unlock()
	// In this order: what begins from now on finds the lock, all else ends here.
	s.uses.endAll(errLocked)
	s.config.PINs.lock(true)
	s.secrets.wipe()
	return nil
}

// Unlock is the inverse of [Server.Lock]. A wrong passphrase is [key.ErrDenied], and
// after each the next try waits longer, whoever makes it and wherever the last one has
// gone. A process has one try at a time, the next is [key.ErrBusy]: who guesses on a
// thousand connections does not keep the owner waiting for all of them. It fails with
// [key.ErrUsage] if the agent is not locked.
func (s *Server) Unlock(ctx context.Context, pid int, passphrase []byte) error {
	leave := s.lock.enter(pid)
	if leave == nil {
		return errTrying
	}
	defer leave()
	select {
	case s.lock.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.stopping:
		return errStopping
	}
	defer func() { <-s.lock.turn }()
	late := time.NewTimer(s.lock.rest())
	defer late.Stop()
	select {
	case <-late.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.stopping:
		return errStopping
	}
	return s.lock.try(passphrase, func() { s.config.PINs.lock(false) })
}

// enter notes that a process tries a passphrase; nil: it does already.
func (l *lock) enter(pid int) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trying[pid] {
		return nil
	}
	l.trying[pid] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.trying, pid)
	}
}

// rest is how long the next try has to wait.
func (l *lock) rest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.rested)
}

// changeLock serves a request to lock or unlock.
func (c *sshConn) changeLock(ctx context.Context, f frame) error {
	var m struct{ Passphrase []byte }
	if err := ssh.Unmarshal(f.body, &m); err != nil {
		return fmt.Errorf("malformed passphrase: %w", err)
	}
	action, err := "lock", error(nil)
	if f.kind == agentLock {
		err = c.Lock(m.Passphrase)
	} else {
		action, err = "unlock", c.Unlock(ctx, c.conn.peer.PID, m.Passphrase)
	}
	r := newRecord(action, SocketSSH, c.conn.peer)
	if err != nil {
		return c.written(r, err)
	}
	c.tell(r)
	return nil
}

// try unlocks, and then calls opened, if the passphrase is right.
func (l *lock) try(passphrase []byte, opened func()) error {
	l.mu.Lock()
	salt, want := l.salt, l.hash
	l.mu.Unlock()
	if want == nil {
		return errNotLocked
	}
	got, err := l.hashOf(passphrase, salt)
	if err != nil {
		return err
	}
	l.turning.Lock()
	defer l.turning.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.hash == nil:
		return errNotLocked
	case subtle.ConstantTimeCompare(got, l.hash) == 1:
		l.salt, l.hash = nil, nil
		opened()
		return nil
	}
	l.failures++
	l.rested = time.Now().Add(min(time.Duration(l.failures)*limits.UnlockDelay, limits.UnlockDelayMax))
	return errUnlock
}

// hashOf hashes a passphrase. Who can read the hash can read the software keys, so
// the cost is for those who guess through the socket.
func (l *lock) hashOf(passphrase, salt []byte) ([]byte, error) {
	l.hashing.Lock()
	defer l.hashing.Unlock()
	return scrypt.Key(passphrase, salt, limits.LockCost, limits.LockBlock, 1, limits.LockHash)
}
