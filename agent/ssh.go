package agent

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync"

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
	agentRequestIdentities = 11
	agentIdentitiesAnswer  = 12
	agentSignRequest       = 13
	agentSignResponse      = 14
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
	conn  *conn
	binds bindings
}

// serveSSHConn serves one connection and closes it.
func (s *Server) serveSSHConn(c *conn) {
	ctx, gone := context.WithCancel(s.ctx)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer func() {
		// A mistake of ours in one message must not end the process, which
		// others depend on.
		if r := recover(); r != nil {
			s.config.Log.Error("panic while serving a connection", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	frames := make(chan frame, limits.AgentAhead)
	defer func() {
		for f := range frames { // that nobody will answer
			f.release()
		}
	}()
	defer c.Close() // ends the reader, which closes frames
	defer gone()
	reader.Go(func() {
		defer close(frames)
		defer gone() // a client that stopped sending no longer wants its answer
		s.readFrames(ctx, c, frames)
	})
	client := sshConn{Server: s, conn: c}
	for {
		select {
		case <-s.stopping:
			return
		case f, ok := <-frames:
			if !ok {
				return
			}
			if err := client.serve(ctx, f); err != nil {
				s.config.Log.Debug("connection closed", logx.Peer, c.peer.PID, logx.Err, err)
				return
			}
		}
	}
}

// serve answers one message and gives its memory back.
func (c *sshConn) serve(ctx context.Context, f frame) error {
	defer c.conn.end()
	defer f.release()
	answer, err := c.handle(ctx, f)
	if err != nil {
		return err
	}
	return writeFrame(c.conn, answer)
}

// readFrames reads ahead by some messages, which is how the end of a connection is
// seen while a person is asked.
func (s *Server) readFrames(ctx context.Context, c *conn, frames chan<- frame) {
	r := newFrameReader(c, s.frames)
	for {
		f, err := r.next(ctx)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.config.Log.Debug("connection ended", logx.Peer, c.peer.PID, logx.Err, err)
			}
			return
		}
		c.begin()
		select {
		case frames <- f:
		case <-ctx.Done():
			f.release()
			return
		}
	}
}

// handle answers one message. An error means that the message is malformed and
// the connection has to be closed.
func (c *sshConn) handle(ctx context.Context, f frame) (answer []byte, err error) {
	failure := []byte{agentFailure}
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
		signature, err := c.signData(ctx, m)
		if err != nil {
			c.config.Log.Debug("request to sign failed", logx.Peer, c.conn.peer.PID, logx.Err, err)
			return failure, nil
		}
		return ssh.Marshal(signResponse{Signature: signature}), nil
	case agentExtension:
		var m extension
		if err := ssh.Unmarshal(f.body, &m); err != nil {
			return nil, fmt.Errorf("malformed extension: %w", err)
		}
		return c.extension(m), nil
	}
	return failure, nil
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

// identities lists the keys that can do something on this socket.
func (c *sshConn) identities(ctx context.Context) []byte {
	infos, err := c.config.Keys.List(ctx)
	if err != nil {
		c.config.Log.Warn("some keys cannot be listed", logx.Err, err)
	}
	var list []byte
	count := uint32(0)
	// Keys that log in come first: clients try all, and servers lose patience.
	slices.SortStableFunc(infos, func(a, b key.Info) int {
		return cmp.Compare(slices.Index(key.Usages, a.Usage), slices.Index(key.Usages, b.Usage))
	})
	for _, in := range infos {
		blob, err := sshwire.Blob(in.Public)
		if err != nil || len(allowed[SocketSSH][in.Usage]) == 0 {
			continue
		}
		comment := in.Comment
		if in.Imported {
			comment += " (imported)"
		}
		list = append(list, ssh.Marshal(struct {
			Blob    []byte
			Comment string
		}{blob, comment})...)
		count++
	}
	return ssh.Marshal(struct {
		Count uint32 `sshtype:"12"`
		Keys  []byte `ssh:"rest"`
	}{count, list})
}

// signData serves a request to sign.
func (c *sshConn) signData(ctx context.Context, m signRequest) ([]byte, error) {
	id, err := idOf(m.Key)
	if err != nil {
		return nil, err
	}
	ctx, done := c.uses.begin(ctx, id)
	defer done()
	signer, err := c.findKey(ctx, id, SocketSSH, c.conn.peer)
	if err != nil {
		return nil, err
	}
	j := signing{signer: signer, Request: Request{
		Peer: c.conn.peer, Socket: SocketSSH, Key: signer.Info(), Form: FormUnrecognised,
	}}
	j.sum, j.Digest = sha256Of(m.Data)
	algorithm, hash, err := algorithmFor(signer.Public(), m.Flags)
	if err == nil {
		err = c.describe(&j.Request, m, algorithm)
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
	if err != nil {
		return refuse(err.Error())
	}
	switch what.Shape {
	case sshwire.ShapeUserAuth:
		r.Form, r.User, r.HostKey = FormUserAuth, what.UserAuth.User, c.binds.hostOf(what.UserAuth)
		if err := c.binds.check(what.UserAuth); err != nil {
			return refuse(err.Error())
		}
	case sshwire.ShapeSSHSIG:
		r.Form, r.Namespace = FormSSHSIG, what.SSHSIG.Namespace
		r.Digest = what.SSHSIG.Hash + ":" + hex.EncodeToString(what.SSHSIG.Digest)
	case sshwire.ShapeCertificate:
		r.Form, r.Certificate = FormCertificate, what.Certificate
		_, r.Digest = sha256Of(what.Certificate.Key.Marshal())
		return c.binds.checkLocal()
	case sshwire.ShapeHostKeyProof:
		r.Form = FormHostKeyProof
		return c.binds.checkLocal()
	case sshwire.ShapeExchangeHash:
		r.Form = FormExchangeHash
		return c.binds.checkLocal()
	}
	return nil
}

// idOf is the id of the key with a public key blob.
func idOf(blob []byte) (key.ID, error) {
	pub, err := sshwire.ParseBlob(blob)
	if err != nil {
		return "", err
	}
	return key.NewID(pub)
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
	switch m.Name {
	case extensionQuery:
		return ssh.Marshal(struct {
			Name string `sshtype:"29"`
			A, B string
		}{extensionQuery, extensionQuery, extensionBind})
	case extensionBind:
		if err := c.binds.add(m.Contents); err != nil {
			c.config.Log.Warn("connection cannot be bound to its session", logx.Peer, c.conn.peer.PID, logx.Err, err)
			return []byte{agentExtensionFailure}
		}
		return []byte{agentSuccess}
	}
	return []byte{agentFailure}
}
