package agent

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// rate bounds how often something happens: for each process, and for all together,
// because a process can start others. A nil rate bounds nothing. It is safe for
// concurrent use.
type rate struct {
	one, all pace

	mu    sync.Mutex
	next  map[int]time.Time // by process: when it is as if it had done nothing
	total time.Time
}

// pace is how often something may happen in a row, and how long each counts.
type pace struct {
	burst int
	each  time.Duration
}

func newRate(one, all pace) *rate { return &rate{one: one, all: all, next: map[int]time.Time{}} }

// count notes that it happened, and returns how long to wait for the pace to be kept.
func (r *rate) count(pid int) time.Duration {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if len(r.next) >= limits.RateProcesses {
		for p, t := range r.next {
			if !t.After(now) {
				delete(r.next, p)
			}
		}
	}
	r.total = r.all.after(r.total, now)
	// More than we remember count for all alone. Those in other PID namespaces have no
	// number here but 0, and are as one.
	if _, known := r.next[pid]; known || len(r.next) < limits.RateProcesses {
		r.next[pid] = r.one.after(r.next[pid], now)
	}
	return r.wait(pid, now)
}

// over says how long it must not happen; 0: it may.
func (r *rate) over(pid int) time.Duration {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wait(pid, time.Now())
}

// wait is how long to wait. The mutex is held.
func (r *rate) wait(pid int, now time.Time) time.Duration {
	return max(r.one.wait(r.next[pid], now), r.all.wait(r.total, now))
}

func (p pace) after(next, now time.Time) time.Time {
	if next.Before(now) {
		next = now
	}
	return next.Add(p.each)
}

func (p pace) wait(next, now time.Time) time.Duration {
	if !next.After(now) {
		return 0
	}
	return max(0, next.Sub(now)-time.Duration(p.burst)*p.each)
}

// slowDown keeps a client waiting whose requests were refused on and on, or changed
// what the agent holds, so that it cannot push what happened before out of the audit
// log. Signatures are as slow as the device, but those of software keys, which are
// recorded all the same. It waits before the next request, not after the last: so
// one whose client has gone is never looked at, and meanwhile the connection can make
// room for others.
func (s *Server) slowDown(ctx context.Context, c *conn) error {
	wait := s.refusals.over(c.peer.PID)
	if wait == 0 {
		return nil
	}
	c.end()
	defer c.begin()
	late := time.NewTimer(wait)
	defer late.Stop()
	select {
	case <-late.C:
		if c.hungUp() {
			return net.ErrClosed
		}
		return nil
	case <-s.stopping:
		return net.ErrClosed
	case <-c.left:
		return net.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
