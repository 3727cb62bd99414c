package agent

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/peercred"
)

// conns are the open connections of one socket, at most max. When all are taken,
// a newcomer gets the place of the one that has been silent longest; one that
// has ever sent a whole message is never put out.
type conns struct {
	max int

	mu     sync.Mutex
	count  int
	silent list.List // of *conn, the oldest first
}

// conn is a connection whose peer is known.
type conn struct {
	net.Conn
	peer Peer

	conns *conns
	place *list.Element // in conns.silent; nil once it spoke or is closed
	open  bool          // has a place in conns.count
}

// admit gives a connection its place; nil means that there is none.
func (c *conns) admit(nc net.Conn, p Peer) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count >= c.max {
		oldest := c.silent.Front()
		if oldest == nil {
			return nil
		}
		victim := oldest.Value.(*conn)
		c.leaveLocked(victim)
		victim.Conn.Close()
	}
	n := &conn{Conn: nc, peer: p, conns: c, open: true}
	n.place = c.silent.PushBack(n)
	c.count++
	return n
}

// spoke says that a whole message came.
func (n *conn) spoke() {
	n.conns.mu.Lock()
	defer n.conns.mu.Unlock()
	if n.place != nil {
		n.conns.silent.Remove(n.place)
		n.place = nil
	}
}

// closeSilent closes the connections that have not said anything yet.
func (c *conns) closeSilent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.silent.Front(); e != nil; e = c.silent.Front() {
		silent := e.Value.(*conn)
		c.leaveLocked(silent)
		silent.Conn.Close()
	}
}

// Close closes the connection and gives its place back.
func (n *conn) Close() error {
	n.conns.mu.Lock()
	n.conns.leaveLocked(n)
	n.conns.mu.Unlock()
	return n.Conn.Close()
}

func (c *conns) leaveLocked(n *conn) {
	if !n.open {
		return
	}
	n.open = false
	c.count--
	if n.place != nil {
		c.silent.Remove(n.place)
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
		if n := l.conns.admit(nc, peer); n != nil {
			return n, nil
		}
		l.server.config.Log.Warn("connection refused: all are in use", "limit", l.conns.max)
		nc.Close()
	}
}

// retry says whether an error of Accept will pass.
func (l *listener) retry(err error) bool {
	if errors.Is(err, syscall.ECONNABORTED) {
		return true
	}
	if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
		return false
	}
	l.server.config.Log.Error("no descriptors left for connections", logx.Err, err)
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
	return Peer{UID: c.UID, PID: c.PID}, nil
}

func admitted(peer, own int) bool { return peer == own || peer == 0 }

type connKey struct{}

// connOf returns the connection that an HTTP request came on.
func connOf(ctx context.Context) *conn { return ctx.Value(connKey{}).(*conn) }
