package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/semaphore"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/peercred"
)

// Upstream is another ssh-agent, whose keys are listed behind ours and sign there.
// Nothing is added to it or removed from it, and it is never on the control socket.
type Upstream struct {
	// Path is its socket.
	Path string
	// Keys are the SHA-256 fingerprints of those of its keys that may be used,
	// which for a certificate is that of the key in it; empty: all.
	Keys []string
	// Devices marks an agent with the same devices as ours: while it lives, it
	// signs with their keys in our place. Its other keys are not used.
	Devices bool
}

// upstream is an agent that clients' connections are linked to. It is safe for
// concurrent use.
type upstream struct {
	Upstream
	shared *upstreams

	mu      sync.Mutex
	failing bool      // which was told
	rested  time.Time // when it is asked again
}

// upstreams are all of them, and what they share.
type upstreams struct {
	all     []*upstream
	answers budget
	room    *semaphore.Weighted // for connections
	log     *slog.Logger
}

func newUpstreams(all []Upstream, room int, log *slog.Logger) *upstreams {
	s := &upstreams{
		answers: newBudget(limits.UpstreamFrames), room: semaphore.NewWeighted(int64(room)), log: log,
	}
	for _, u := range all {
		s.all = append(s.all, &upstream{Upstream: u, shared: s})
	}
	return s
}

// relays makes what a client's connection reaches the upstreams by.
func (s *upstreams) relays() (all []*relay) {
	for _, u := range s.all {
		all = append(all, &relay{upstream: u})
	}
	return all
}

// resting says whether the agent is left alone for a while.
func (u *upstream) resting() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return time.Now().Before(u.rested)
}

// report tells once that the agent fails, and once that it no longer does. That an
// agent with our devices is not there is nothing to tell.
func (u *upstream) report(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	changed := u.failing != (err != nil)
	u.failing = err != nil
	if errors.Is(err, context.DeadlineExceeded) {
		u.rested = time.Now().Add(limits.UpstreamRest)
	}
	switch {
	case !changed:
	case err == nil:
		u.shared.log.Info("agent answers again", logx.Path, u.Path)
	case u.Devices:
		u.shared.log.Debug("the agent with the devices does not answer", logx.Path, u.Path, logx.Err, err)
	default:
		u.shared.log.Warn("agent does not answer: its keys are left out", logx.Path, u.Path, logx.Err, err)
	}
}

// relay is the connection to an upstream that belongs to one of a client's: it is bound
// to the same sessions, so that the upstream's own rules hold for that client. It is
// made when a request needs it, and ends with that, as clients may be idle for days.
type relay struct {
	*upstream
	conn      net.Conn // nil: not connected
	in        *frameReader
	bound     int  // how many of the client's sessions the upstream knows
	attempted bool // it knows that the client failed to bind
}

// ask sends a message and returns the answer, whose memory must be given back.
func (l *relay) ask(ctx context.Context, c *sshConn, message []byte) (frame, error) {
	kept := l.conn != nil
	answer, err := l.exchange(ctx, c, message)
	if err != nil && kept && ctx.Err() == nil {
		// It may have ended since, and another have taken its place.
		answer, err = l.exchange(ctx, c, message)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return frame{}, fmt.Errorf("agent %s: %w", l.Path, err)
	}
	return answer, nil
}

// exchange is ask with the connection that there is, or a new one.
func (l *relay) exchange(ctx context.Context, c *sshConn, message []byte) (answer frame, err error) {
	if l.conn == nil {
		if err := l.dial(ctx, c.conn.peer); err != nil {
			return frame{}, err
		}
	}
	defer func() {
		if err != nil {
			l.close() // an answer that comes later would be taken for the next
		}
	}()
	conn := l.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := l.bind(ctx, c); err != nil {
		return frame{}, err
	}
	return l.roundTrip(ctx, message)
}

func (l *relay) roundTrip(ctx context.Context, message []byte) (frame, error) {
	if err := writeFrame(l.conn, message); err != nil {
		return frame{}, err
	}
	return l.in.next(ctx)
}

// errLoop means that an upstream asks for what it is to be asked for.
var errLoop = errors.New("it is the client")

// dial connects, if there is room soon. The other side is to be our user's, as ours is to
// its clients.
func (l *relay) dial(ctx context.Context, client Peer) error {
	soon, cancel := context.WithTimeout(ctx, limits.UpstreamRoom)
	defer cancel()
	if err := l.shared.room.Acquire(soon, 1); err != nil {
		return errors.New("too many connections to other agents")
	}
	conn, err := dialUnix(ctx, l.Path)
	if err != nil {
		l.shared.room.Release(1)
		return err
	}
	l.conn, l.in, l.bound, l.attempted = conn, newFrameReader(conn, l.shared.answers), 0, false
	peer, err := peercred.Of(conn)
	switch {
	case err != nil:
	case !admitted(peer.UID, os.Getuid()):
		err = fmt.Errorf("it belongs to uid %d", peer.UID)
	case peer.PID == client.PID && peer.PID != os.Getpid():
		err = errLoop
	}
	if err != nil {
		l.close()
	}
	return err
}

func (l *relay) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn, l.in = nil, nil
		l.shared.room.Release(1)
	}
}

// closeRelays ends the connections to upstreams with the request that needed them.
func (c *sshConn) closeRelays() {
	for _, l := range c.relays {
		l.close()
	}
}

// bind tells the upstream to which sessions the client's connection was bound, as far
// as it does not know. What it answers is its own affair: who does not understand it
// has no rules about it, and who refuses it trusts the connection less.
func (l *relay) bind(ctx context.Context, c *sshConn) error {
	tell := func(contents []byte) error {
		answer, err := l.roundTrip(ctx, ssh.Marshal(struct {
			Name     string `sshtype:"27"`
			Contents []byte `ssh:"rest"`
		}{extensionBind, contents}))
		if err == nil {
			answer.release()
		}
		return err
	}
	for ; l.bound < len(c.binds); l.bound++ {
		if err := tell(c.binds[l.bound].proof); err != nil {
			return err
		}
	}
	if c.attempted && l.bound == 0 && !l.attempted {
		l.attempted = true
		return tell(nil) // fails there too
	}
	return nil
}
