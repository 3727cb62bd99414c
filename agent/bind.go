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
	forwarding bool // the session forwards the agent, and does not log in
}

// add handles the contents of a session-bind message: the proof that the holder
// of the host key took part in the session.
func (b *bindings) add(contents []byte) error {
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
	// The message's memory is given back.
	*b = append(*b, binding{bytes.Clone(m.HostKey), bytes.Clone(m.SessionID), m.Forwarding})
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
