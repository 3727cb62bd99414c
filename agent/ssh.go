package agent

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// Message numbers and flags of RFC 9987, sections 5.1 and 5.3.
const (
	agentFailure           = 5
	agentSuccess           = 6
	agentRemoveAllSSH1     = 9 // which ssh-add -D sends too
	agentRequestIdentities = 11
	agentIdentitiesAnswer  = 12
	agentSignRequest       = 13
	agentSignResponse      = 14
	agentAddIdentity       = 17
	agentRemoveIdentity    = 18
	agentRemoveAll         = 19
	agentLock              = 22
	agentUnlock            = 23
	agentAddConstrained    = 25
	agentExtension         = 27
	agentExtensionFailure  = 28
	agentExtensionResponse = 29

	flagSHA256 = 2
	flagSHA512 = 4
)

const (
	extensionQuery = "query"
	extensionBind  = "session-bind@openssh.com"
)

// sshConn is one connection of the SSH socket: its requests are served one after
// the other, as the protocol wants it.
type sshConn struct {
	*Server
	conn   *conn
	frames *frameReader
	gone   context.CancelFunc // ends what is done for the client
	session
	held   int      // memory for its bindings
	taken  int64    // of that, what all connections share
	relays []*relay // to the upstreams
}

// serveSSHConn serves one connection and closes it. One goroutine does it all: there
// may be a thousand connections, most of them silent.
func (s *Server) serveSSHConn(c *conn) {
	defer func() {
		// A mistake of ours in one message must not end the process, which
		// others depend on.
		if r := recover(); r != nil {
			s.config.Log.Error("panic while serving a connection", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	defer c.Close()
	ctx, gone := context.WithCancel(s.ctx)
	defer gone()
	client := sshConn{Server: s, conn: c, frames: newFrameReader(c, s.frames), gone: gone, relays: s.upstreams.relays()}
	defer client.frames.clear()
	defer client.unbind()
	c.end()
	for !s.stops() {
		if err := client.serve(ctx); err != nil {
			if !errors.Is(err, io.EOF) {
				s.config.Log.Debug("connection ended", logx.Peer, c.peer.PID, logx.Err, err)
			}
			return
		}
	}
}

// stops says whether the server was told to stop.
func (s *Server) stops() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// serve reads one message, answers it and gives its memory back.
func (c *sshConn) serve(ctx context.Context) error {
	f, err := c.frames.next(ctx)
	if err != nil {
		return err
	}
	c.conn.begin()
	defer c.conn.end()
	defer f.release()
	defer c.closeRelays()
	defer c.watch()()
	answer, err := c.handle(ctx, f)
	if err != nil {
		return err
	}
	return writeFrame(c.conn, answer)
}

// watch sees to it that what takes long ends when the client is gone: one that stopped
// sending no longer wants its answer. Of one that sent more than is read ahead, it is only
// seen that it hung up. Until the end of the watch nobody else reads.
func (c *sshConn) watch() (end func()) {
	done := make(chan struct{})
	late := time.AfterFunc(limits.AgentWatch, func() {
		defer close(done)
		if c.frames.ended() || c.conn.hangsUp() {
			c.gone()
		}
	})
	return func() {
		if late.Stop() {
			return
		}
		c.conn.SetReadDeadline(time.Now()) // ends its reading
		<-done
		c.conn.SetReadDeadline(time.Time{})
	}
}

// handle answers one message. An error means that the message is malformed and
// the connection has to be closed.
func (c *sshConn) handle(ctx context.Context, f frame) (answer []byte, err error) {
	switch f.kind {
	case agentRequestIdentities:
		if len(f.body) > 0 {
			return nil, errors.New("malformed request for identities")
		}
		return c.identities(ctx), nil
	case agentSignRequest:
		var m signRequest
		if err := ssh.Unmarshal(f.body, &m); err != nil {
			return nil, fmt.Errorf("malformed request to sign: %w", err)
		}
		if err := c.slowDown(ctx, c.conn); err != nil {
			return nil, err
		}
		signature, err := c.signData(ctx, m)
		if err != nil {
			c.config.Log.Debug("request to sign failed", logx.Peer, c.conn.peer.PID, logx.Err, err)
			return []byte{agentFailure}, nil
		}
		return ssh.Marshal(signResponse{Signature: signature}), nil
	case agentExtension:
		var m extension
		if err := ssh.Unmarshal(f.body, &m); err != nil {
			return nil, fmt.Errorf("malformed extension: %w", err)
		}
		return c.extension(m), nil
	}
	if err := c.slowDown(ctx, c.conn); err != nil {
		return nil, err
	}
	c.refusals.count(c.conn.peer.PID)
	if err := c.change(ctx, f); err != nil {
		c.config.Log.Debug("request failed", logx.Peer, c.conn.peer.PID, "message", f.kind, logx.Err, err)
		return []byte{agentFailure}, nil
	}
	return []byte{agentSuccess}, nil
}

// change serves the messages that change what the agent holds or does. Their answer
// is whether they did.
func (c *sshConn) change(ctx context.Context, f frame) error {
	defer clear(f.body) // a private key, a passphrase, or the PIN of a card that we refuse
	if f.kind == agentLock || f.kind == agentUnlock {
		return c.changeLock(ctx, f)
	}
	if err := c.locked(); err != nil {
		return err
	}
	switch f.kind {
	case agentAddIdentity, agentAddConstrained:
		return c.addKey(ctx, f.body, f.kind == agentAddConstrained)
	case agentRemoveIdentity:
		return c.removeKey(f.body)
	case agentRemoveAll, agentRemoveAllSSH1:
		c.removeKeys()
		return nil
	}
	return fmt.Errorf("message %d: %w", f.kind, key.ErrUnsupported)
}

type signRequest struct {
	Key   []byte
	Data  []byte
	Flags uint32
}

type signResponse struct {
	Signature []byte `sshtype:"14"`
}

type extension struct {
	Name     string
	Contents []byte `ssh:"rest"`
}

// signData serves a request to sign.
func (c *sshConn) signData(ctx context.Context, m signRequest) ([]byte, error) {
	if k := c.software.find(m.Key); k != nil {
		return c.signSoftware(ctx, k, m)
	}
	if l := c.upstreamFor(ctx, m.Key); l != nil {
		return c.signUpstream(ctx, l, m)
	}
	id, mark, err := idOf(m.Key)
	if err != nil {
		return nil, err
	}
	ctx, done := c.uses.begin(ctx, id)
	defer done()
	signer, err := c.findKey(ctx, id, SocketSSH, c.conn.peer)
	if err != nil {
		return nil, err
	}
	j := &signing{signer: signer}
	j.Peer, j.Socket, j.Key, j.Form = c.conn.peer, SocketSSH, signer.Info(), FormUnrecognised
	j.sum, j.Digest = sha256Of(m.Data)
	algorithm, hash, err := algorithmFor(signer.Public(), m.Flags)
	if err == nil {
		err = c.describe(&j.Request, m, algorithm+mark)
	}
	if err == nil {
		err = c.offers(signer.Info())
	}
	if err != nil {
		return nil, c.settle(j, err)
	}
	h := hash.New()
	h.Write(m.Data)
	j.digest, j.opts = h.Sum(nil), hash
	signature, err := c.sign(ctx, j)
	if err != nil {
		return nil, err
	}
	return sshwire.EncodeSignature(signer.Public(), algorithm, signature)
}

// describe says what the data is. An error says why it must not be signed.
func (c *sshConn) describe(r *Request, m signRequest, algorithm string) error {
	what, err := sshwire.Classify(m.Data, m.Key, algorithm)
	if err != nil && c.settings.Load().Rules[r.Key.ID].allowsUnrecognised(r) {
		return c.checkLocal()
	}
	if err != nil {
		return refuse(err.Error())
	}
	r.describe(what, c.binds)
	switch what.Shape {
	case sshwire.ShapeUserAuth:
		if err := c.binds.check(what.UserAuth); err != nil {
			return refuse(err.Error())
		}
	case sshwire.ShapeCertificate, sshwire.ShapeHostKeyProof, sshwire.ShapeExchangeHash:
		return c.checkLocal()
	}
	return nil
}

// describe puts what is to be signed into the request.
func (r *Request) describe(what sshwire.Signed, b bindings) {
	switch what.Shape {
	case sshwire.ShapeUserAuth:
		r.Form, r.User, r.HostKey = FormUserAuth, what.UserAuth.User, b.hostOf(what.UserAuth)
	case sshwire.ShapeSSHSIG:
		r.Form, r.Namespace = FormSSHSIG, what.SSHSIG.Namespace
		r.Digest = what.SSHSIG.Hash + ":" + hex.EncodeToString(what.SSHSIG.Digest)
	case sshwire.ShapeCertificate:
		r.Form, r.Certificate = FormCertificate, what.Certificate
		_, r.Digest = sha256Of(what.Certificate.Key.Marshal())
	case sshwire.ShapeHostKeyProof:
		r.Form = FormHostKeyProof
	case sshwire.ShapeExchangeHash:
		r.Form = FormExchangeHash
	}
}

// algorithmFor chooses the signature algorithm that the flags demand. Flags are
// for RSA keys alone (RFC 9987, section 3.6.1), and without one an RSA key would
// sign with SHA-1.
func algorithmFor(pub crypto.PublicKey, flags uint32) (name string, hash crypto.Hash, err error) {
	var rsaHash crypto.Hash
	_, isRSA := pub.(*rsa.PublicKey)
	switch {
	case !isRSA && flags == 0:
	case isRSA && flags == flagSHA256:
		rsaHash = crypto.SHA256
	case isRSA && flags == flagSHA512:
		rsaHash = crypto.SHA512
	default:
		return "", 0, fmt.Errorf("signature flags %#x for a %T: %w", flags, pub, key.ErrUnsupported)
	}
	return sshwire.Algorithm(pub, rsaHash)
}

// extension serves an extension message.
func (c *sshConn) extension(m extension) []byte {
	if m.Name != extensionBind && c.locked() != nil {
		return []byte{agentFailure}
	}
	switch m.Name {
	case extensionQuery:
		return ssh.Marshal(struct {
			Name string `sshtype:"29"`
			A, B string
		}{extensionQuery, extensionQuery, extensionBind})
	case extensionBind:
		if err := c.bind(m.Contents); err != nil {
			c.config.Log.Warn("connection cannot be bound to its session", logx.Peer, c.conn.peer.PID, logx.Err, err)
			return []byte{agentExtensionFailure}
		}
		return []byte{agentSuccess}
	}
	return []byte{agentFailure}
}
