package agent

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/peercred"
)

// conns are the open connections of one socket, at most max. When all are taken,
// a newcomer gets the place of the one that has been idle longest. One that waits
// for an answer is never put out. To have said nothing yet is to be idle since the
// beginning, so that in a crowd of newcomers each has time for its request.
type conns struct {
	max     int
	changed chan struct{} // gets a value when one leaves or was answered

	mu    sync.Mutex
	count int
	idle  list.List // of *conn without a request under way, the longest first
	moved time.Time // when one came, left or was answered last
}

// conn is a connection whose peer is known.
type conn struct {
	net.Conn
	peer Peer

	conns  *conns
	place  *list.Element // in conns.idle; nil while a request is under way
	rested time.Time     // since when it is there
	open   bool          // has a place in conns.count
	left   chan struct{} // closed when it has none any more
}

func newConns(max int) conns { return conns{max: max, changed: make(chan struct{}, 1)} }

// crowded says whether a newcomer is better off waiting: all places are taken, by requests
// under way and by those who came, or were answered, a moment ago. Where nobody was for
// long, those wait for people, and it would only have all behind it wait, too.
func (c *conns) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count < c.max || time.Since(c.moved) >= limits.AgentPlace {
		return false
	}
	first := c.idle.Front()
	return first == nil || time.Since(first.Value.(*conn).rested) < limits.AgentMoment
}

// rest puts a connection behind the idle ones. The mutex is held.
func (c *conns) rest(n *conn) {
	n.rested, n.place = time.Now(), c.idle.PushBack(n)
}

// tell wakes the one who waits for a place. The mutex is held.
func (c *conns) tell() {
	c.moved = time.Now()
	select {
	case c.changed <- struct{}{}:
	default: // it is told, or there is nobody to tell
	}
}

// admit gives a connection its place; nil means that there is none. It is not idle
// before somebody reads what its client may have sent.
func (c *conns) admit(nc net.Conn, p Peer) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count >= c.max && !c.evict() {
		return nil
	}
	n := &conn{Conn: nc, peer: p, conns: c, open: true, left: make(chan struct{})}
	c.count, c.moved = c.count+1, time.Now()
	return n
}

// evict closes the connection that has been idle longest, if there is one.
func (c *conns) evict() bool {
	first := c.idle.Front()
	if first == nil {
		return false
	}
	n := first.Value.(*conn)
	n.leave()
	n.Conn.Close()
	return true
}

// closeIdle closes the connections without a request under way.
func (c *conns) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.evict() {
	}
}

// begin says that a whole message came, and end that it was answered, or that the first
// one is waited for.
func (n *conn) begin() {
	n.conns.mu.Lock()
	defer n.conns.mu.Unlock()
	n.busy()
}

func (n *conn) end() {
	n.conns.mu.Lock()
	defer n.conns.mu.Unlock()
	if n.open {
		n.conns.rest(n)
		n.conns.tell()
	}
}

// Close closes the connection and gives its place back.
func (n *conn) Close() error {
	n.conns.mu.Lock()
	n.leave()
	n.conns.mu.Unlock()
	return n.Conn.Close()
}

// leave gives the place back. The mutex is held.
func (n *conn) leave() {
	if n.open {
		n.open = false
		close(n.left)
		n.conns.count--
		n.busy()
		n.conns.tell()
	}
}

// busy takes the connection off the idle ones. The mutex is held.
func (n *conn) busy() {
	if n.place != nil {
		n.conns.idle.Remove(n.place)
		n.place = nil
	}
}

// listener accepts only peers that may use the agent, and as many as there is
// room for. It is a [net.Listener] whose connections are *conn.
type listener struct {
	net.Listener
	server *Server
	conns  conns
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			if !l.retry(err) {
				return nil, err
			}
			continue
		}
		peer, err := peerOf(nc)
		if err != nil {
			l.server.config.Log.Warn("connection refused", logx.Err, err)
			nc.Close()
			continue
		}
		if n := l.admit(nc, peer); n != nil {
			return n, nil
		}
		nc.Close()
	}
}

// admit waits for a place, but not for ever; nil means that there is none.
func (l *listener) admit(nc net.Conn, p Peer) *conn {
	for l.conns.crowded() {
		select {
		case <-l.conns.changed:
		case <-time.After(limits.AgentMoment):
		case <-l.server.stopping:
			return nil
		}
	}
	n := l.conns.admit(nc, p)
	if n == nil {
		l.server.config.Log.Warn("connection refused: all are in use", "limit", l.conns.max)
	}
	return n
}

// retry says whether an error of Accept will pass.
func (l *listener) retry(err error) bool {
	if errors.Is(err, syscall.ECONNABORTED) {
		return true
	}
	scarce := []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS}
	if !slices.ContainsFunc(scarce, func(e error) bool { return errors.Is(err, e) }) {
		return false
	}
	l.server.config.Log.Error("no room for connections", logx.Err, err)
	select {
	case <-time.After(limits.AcceptPause):
		return true
	case <-l.server.stopping:
		return false
	}
}

// peerOf asks the kernel for the peer and refuses strangers: as in OpenSSH's
// agent, only our own user and root are served.
func peerOf(nc net.Conn) (Peer, error) {
	c, err := peercred.Of(nc)
	if err != nil {
		return Peer{}, err
	}
	if !admitted(c.UID, os.Getuid()) {
		return Peer{}, fmt.Errorf("peer has uid %d", c.UID)
	}
	return Peer{UID: c.UID, PID: c.PID, conn: nc, since: time.Now()}, nil
}

func admitted(peer, own int) bool { return peer == own || peer == 0 }

type connKey struct{}

// connOf returns the connection that an HTTP request came on.
func connOf(ctx context.Context) *conn { return ctx.Value(connKey{}).(*conn) }
