package agent

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/key"
)

// Config is what a [Server] works with. All fields are required but Rules,
// SoftwareKeys, DefaultLifetime, Offer, Upstreams, ConfigFile and Reload.
type Config struct {
	// Keys holds the keys. Their drivers ask for PINs by [PINs.Auth].
	Keys *key.Ring
	// PINs asks people. The server closes it.
	PINs *PINs
	// Rules are the configured rules for keys.
	Rules map[key.ID]Rule
	// SoftwareKeys says what becomes of private keys that clients add.
	SoftwareKeys SoftwarePolicy
	// DefaultLifetime is how long those are kept for which the client does not
	// say it; 0: until they are removed.
	DefaultLifetime time.Duration
	// Offer says which keys can be used on the SSH socket.
	Offer Offer
	// Upstreams are other agents to pass requests on to.
	Upstreams []Upstream
	// ConfigFile is where the rules come from, for people; it may be empty.
	ConfigFile string
	// Reload reads the configuration again; nil if that cannot be done. Its
	// errors say what is wrong, and wrap [ErrConfiguration].
	Reload func() (Settings, error)
	// Process describes the process that serves, for its status; nil, or an answer that is
	// nil: there is nothing to say.
	Process func() *Process
	// Device is the device of the keys.
	Device Device
	// Audit records every request. The caller closes it after the server.
	Audit *AuditLog
	// Log is for people.
	Log *slog.Logger
}

// Device is what the control API offers of a device besides its keys. The values
// of type any are for JSON, as the driver describes them. Every method but String
// may block; errors have the classes of package key. Implementations are safe for
// concurrent use.
type Device interface {
	// String is the text that names the device.
	String() string
	// Status describes its state.
	Status(ctx context.Context) (any, error)
	// Storage describes the key that others wrap keys for.
	Storage(ctx context.Context) (any, error)
	// EndorsementKeys describes those whose certificates it holds.
	EndorsementKeys(ctx context.Context) (any, error)
	// Answer answers a challenge about its attestation key.
	Answer(ctx context.Context, challenge []byte) ([]byte, error)
	// Pin has an endorsement key vouch for it from now on. The SHA-256 of that
	// key's certificate is hexadecimal.
	Pin(ctx context.Context, ekCertificate string) error
}

// Server serves keys on any number of sockets. It is safe for concurrent use.
type Server struct {
	config  Config
	frames  budget
	bodies  budget
	secrets secrets
	uses    uses
	lock    lock
	seen    seen
	room    room

	software  softwareKeys
	upstreams *upstreams
	bindings  *semaphore.Weighted // memory for those of all connections

	settings  atomic.Pointer[settings]
	reloading sync.Mutex
	refusals  *rate

	// stopping is closed when the server stops: nothing new is begun.
	stopping chan struct{}
	// ctx ends when commands in flight must end too.
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	close   []func(ctx context.Context) error // one for each socket
	serving sync.WaitGroup
}

// NewServer makes a server that serves nothing yet.
func NewServer(c Config) *Server {
	room := newRoom()
	s := &Server{
		config: c, room: room, frames: newBudget(limits.AgentFrames), bodies: newBudget(limits.ControlBodies),
		stopping: make(chan struct{}), lock: newLock(), bindings: semaphore.NewWeighted(limits.SSHBindings), upstreams: newUpstreams(c.Upstreams, room.upstreams, c.Log),
		refusals: newRate(pace{limits.Refusals, limits.RefusalTime}, pace{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.software.gone = s.endSoftware
	s.apply(Settings{Rules: c.Rules, SoftwareKeys: c.SoftwareKeys, Offer: c.Offer})
	return s
}

// begin registers a socket and how to stop serving it. It is false if the server
// was shut down.
func (s *Server) begin(stop func(ctx context.Context) error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.close = append(s.close, stop)
	s.serving.Add(1)
	return true
}

// ServeSSH serves the ssh-agent protocol on a unix socket until the listener
// fails or [Server.Shutdown]; then it returns nil. It closes the listener.
func (s *Server) ServeSSH(l net.Listener) error {
	in := &listener{Listener: l, server: s, conns: newConns(s.room.ssh)}
	defer l.Close()
	stop := func(context.Context) error {
		err := l.Close()
		in.conns.closeIdle()
		return err
	}
	if !s.begin(stop) {
		return nil
	}
	defer s.serving.Done()
	s.seen.serves(SocketSSH, l.Addr())
	for {
		nc, err := in.Accept()
		if err != nil {
			return s.serveError(err)
		}
		s.serving.Go(func() { s.serveSSHConn(nc.(*conn)) })
	}
}

// ServeControl serves the control API on a unix socket; it ends as ServeSSH does.
func (s *Server) ServeControl(l net.Listener) error {
	in := &listener{Listener: l, server: s, conns: newConns(s.room.control)}
	h := s.controlServer()
	stop := func(ctx context.Context) error {
		// Shutdown waits for requests in flight, and for seconds for ones
		// that new connections might send; Close is for those that do not
		// end in time.
		in.Close()
		in.conns.closeIdle()
		err := h.Shutdown(ctx)
		if errors.Is(err, net.ErrClosed) {
			err = nil // the listener, twice
		}
		return errors.Join(err, h.Close())
	}
	if !s.begin(stop) {
		return l.Close()
	}
	defer s.serving.Done()
	s.seen.serves(SocketControl, l.Addr())
	return s.serveError(h.Serve(in))
}

// controlServer speaks HTTP on connections that are of type *conn.
func (s *Server) controlServer() *http.Server {
	return &http.Server{
		Handler:           s.controlHandler(),
		ReadHeaderTimeout: limits.ControlHeaderTime,
		IdleTimeout:       limits.ControlIdle,
		MaxHeaderBytes:    limits.ControlHeader,
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext: func(ctx context.Context, nc net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, nc)
		},
		ConnState: func(nc net.Conn, state http.ConnState) {
			switch state {
			case http.StateActive:
				nc.(*conn).begin()
			case http.StateNew, http.StateIdle:
				nc.(*conn).end()
			}
		},
	}
}

// serveError turns the end that Shutdown brings into success.
func (s *Server) serveError(err error) error {
	select {
	case <-s.stopping:
		return nil
	default:
		return fmt.Errorf("serve: %w", err)
	}
}

// Shutdown stops serving: it closes the listeners, takes prompts off the screen,
// lets commands in flight finish until ctx ends, and wipes every secret. It is
// called once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return errors.New("agent was shut down before")
	}
	s.stopped = true
	stops := s.close
	s.mu.Unlock()
	close(s.stopping)
	s.config.PINs.stopPrompts()
	defer context.AfterFunc(ctx, s.cancel)()
	var wg sync.WaitGroup
	errs := make([]error, len(stops))
	for i, stop := range stops {
		wg.Go(func() { errs[i] = stop(ctx) })
	}
	wg.Wait()
	s.serving.Wait()
	s.cancel()
	s.config.PINs.Close()
	s.secrets.wipe()
	s.software.close()
	return errors.Join(errs...)
}

// signing is a request and what it takes to grant it. It is handed on by reference:
// hundreds may wait for the device, and copies of it would be most of their stacks.
type signing struct {
	Request
	signer key.Signer
	digest []byte // what the device signs
	opts   crypto.SignerOpts
	// sum is the SHA-256 of the bytes whose digest this is; nil if nobody
	// knows them.
	sum []byte
}

// sign authorises, signs and records a request. The context is one of
// [uses.begin].
func (s *Server) sign(ctx context.Context, j *signing) (signature []byte, err error) {
	if err = s.authorize(ctx, &j.Request); err == nil {
		signature, err = j.signer.SignContext(newContext(ctx, &j.Request), j.digest, j.opts)
		s.seen.used(err)
	}
	if err := s.settle(j, s.unlessEnded(ctx, err)); err != nil {
		return nil, err
	}
	return signature, nil
}

// unlessEnded is the error of a use, whose context is one of [uses.begin], unless
// the agent ended it: then nothing is given out, whatever was done.
func (s *Server) unlessEnded(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, errDeleted) || errors.Is(cause, key.ErrLocked) {
		return cause
	}
	if locked := s.locked(); locked != nil {
		return locked
	}
	return err
}

// settle records how a request to sign ended and tells the log. It returns the
// error for the client, the only one that names the key: err, or that it could
// not be recorded.
func (s *Server) settle(j *signing, err error) error {
	if err != nil {
		s.refusals.count(j.Peer.PID) // now: hundreds may wait to be recorded
	}
	r := newRecord("sign", j.Socket, j.Peer)
	r.end(err)
	r.Key, r.Ref, r.Form, r.Namespace, r.Digest = j.Key.ID, j.Key.Ref.String(), j.Form, j.Namespace, j.Digest
	r.SHA256, r.Certificate = hex.EncodeToString(j.sum), newCertificateRecord(j.Certificate)
	err = errors.Join(err, s.config.Audit.write(r))
	log := s.config.Log.With(logx.Ref, r.Ref, logx.Purpose, r.Form, logx.Peer, j.Peer.PID)
	if err != nil {
		if hints := hint.Of(err); len(hints) > 0 {
			log = log.With(logx.Hint, hints)
		}
		log.Info("not signed", logx.Err, err)
		return fmt.Errorf("sign with %q: %w", r.Ref, err)
	}
	log.Info("signed")
	return nil
}

// findKey finds the key of a request to sign. What cannot be found is recorded, if
// it is a key's ID at all.
func (s *Server) findKey(ctx context.Context, id key.ID, socket Socket, p Peer) (key.Signer, error) {
	signer, err := s.config.Keys.Signer(ctx, id)
	if ref, parseErr := key.ParseRef("id:" + string(id)); err != nil && parseErr == nil {
		unknown := key.Info{ID: id, Ref: ref}
		return nil, s.settle(&signing{Request: Request{Peer: p, Socket: socket, Key: unknown, Form: FormUnrecognised}}, err)
	}
	return signer, err
}

// sha256Of returns the digest and its text for [Request.Digest].
func sha256Of(data []byte) (sum []byte, text string) {
	d := sha256.Sum256(data)
	return d[:], "sha256:" + hex.EncodeToString(d[:])
}
