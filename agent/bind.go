package agent

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshwire"
)

// bindings are the SSH sessions that a connection was bound to
// (session-bind@openssh.com, OpenSSH PROTOCOL.agent, section 1).
type bindings []binding

type binding struct {
	hostKey    []byte // public key blob or certificate
	sessionID  []byte
	forwarding bool   // the session forwards the agent, and does not log in
	proof      []byte // the message's contents, which have the memory of the others
}

// add handles the contents of a session-bind message: the proof that the holder
// of the host key took part in the session.
func (b *bindings) add(contents []byte) error {
	contents = bytes.Clone(contents) // the message's memory is given back
	var m struct {
		HostKey, SessionID, Signature []byte
		Forwarding                    bool
	}
	if err := ssh.Unmarshal(contents, &m); err != nil {
		return fmt.Errorf("session-bind: %w", err)
	}
	if len(m.SessionID) == 0 || len(m.SessionID) > limits.SSHSessionID {
		return fmt.Errorf("session-bind: session id of %d bytes", len(m.SessionID))
	}
	if len(m.HostKey) > limits.SSHHostKey {
		return fmt.Errorf("session-bind: host key of %d bytes, at most %d", len(m.HostKey), limits.SSHHostKey)
	}
	if err := verifyHost(m.HostKey, m.SessionID, m.Signature); err != nil {
		return fmt.Errorf("session-bind: %w", err)
	}
	for _, old := range *b {
		switch {
		case !old.forwarding:
			return errors.New("session-bind: the connection already serves a login")
		case !bytes.Equal(old.sessionID, m.SessionID):
		case bytes.Equal(old.hostKey, m.HostKey):
			return nil
		default:
			return errors.New("session-bind: the session has another host key")
		}
	}
	if len(*b) >= limits.SSHBinds {
		return errors.New("session-bind: too many hops")
	}
	*b = append(*b, binding{m.HostKey, m.SessionID, m.Forwarding, contents})
	return nil
}

// verifyHost checks a host key's signature over a session id.
func verifyHost(hostKey, sessionID, signature []byte) error {
	k, err := ssh.ParsePublicKey(hostKey)
	if err != nil {
		return fmt.Errorf("host key: %w", err)
	}
	if c, ok := k.(*ssh.Certificate); ok {
		if err := c.SignatureKey.Verify(sshwire.MarshalCertificate(c), c.Signature); err != nil {
			return fmt.Errorf("host certificate: %w", err)
		}
		k = c.Key
	}
	var s ssh.Signature
	if err := ssh.Unmarshal(signature, &s); err != nil {
		return fmt.Errorf("host key's signature: %w", err)
	}
	if s.Format == ssh.KeyAlgoRSA || len(s.Rest) > 0 && !strings.HasPrefix(k.Type(), "sk-") {
		return errors.New("host key's signature: SHA-1 or trailing data")
	}
	return k.Verify(sessionID, &s)
}

// check says whether a login belongs to the session that the connection is bound
// to. A connection that was never bound may log in anywhere, as in OpenSSH's
// agent; not every client binds. So may what is beyond a host to which the agent is
// forwarded: a client there that does not bind cannot be told from one that lies.
func (b bindings) check(u *sshwire.UserAuth) error {
	if len(b) == 0 {
		return nil
	}
	last := b[len(b)-1]
	switch {
	case last.forwarding:
		return nil
	case subtle.ConstantTimeCompare(last.sessionID, u.SessionID) != 1:
		return errors.New("login in another session than the connection's")
	case u.HostKey != nil && !bytes.Equal(last.hostKey, u.HostKey):
		return errors.New("login at another host than the connection's")
	}
	return nil
}

// checkLocal says whether a host key or a CA key may be used: not on a connection
// that serves a client's session. So a server to which the agent is forwarded
// can neither pose as another nor make itself certificates.
func (s *session) checkLocal() error {
	if s.remote() {
		return refuse("host or CA key on a connection of a login")
	}
	return nil
}

// hostOf is the fingerprint of the host key that a login is for, if it is known.
func (b bindings) hostOf(u *sshwire.UserAuth) string {
	switch {
	case u.HostKey != nil:
		return sshwire.Fingerprint(u.HostKey)
	case len(b) > 0:
		return sshwire.Fingerprint(b[len(b)-1].hostKey)
	}
	return ""
}

// bind handles the contents of a session-bind message.
func (c *sshConn) bind(contents []byte) error {
	c.attempted = true
	if len(contents) > limits.SSHBind {
		return fmt.Errorf("session-bind: message of %d bytes, at most %d", len(contents), limits.SSHBind)
	}
	known := len(c.binds)
	if err := c.binds.add(contents); err != nil {
		return err
	}
	if len(c.binds) > known && !c.keep(len(contents)) {
		c.binds = c.binds[:known]
		return errors.New("session-bind: no memory for more")
	}
	return nil
}

// keep takes memory for a binding: that of an honest client is free, more is of what
// all connections share.
func (c *sshConn) keep(size int) bool {
	if c.held += size; c.held <= limits.AgentFreeFrame {
		return true
	}
	if !c.bindings.TryAcquire(int64(size)) {
		c.held -= size
		return false
	}
	c.taken += int64(size)
	return true
}

// unbind gives back the memory of the bindings.
func (c *sshConn) unbind() { c.bindings.Release(c.taken) }
