package sshwire

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// ErrMalformed is wrapped by the errors of the parsers.
var ErrMalformed = errors.New("malformed")

const (
	msgUserAuthRequest = 50 // RFC 4252, section 6
	service            = "ssh-connection"
	methodPublicKey    = "publickey"
	// methodHostBound also names the server's host key
	// (OpenSSH PROTOCOL, section 3.1).
	methodHostBound = "publickey-hostbound-v00@openssh.com"
)

// UserAuth is a login as a client signs it (RFC 4252, section 7).
type UserAuth struct {
	SessionID []byte // 1 to 128 bytes
	User      string
	Algorithm string // of the signature
	Key       []byte // public key blob of the key that signs
	HostKey   []byte // public key blob of the server; nil if it is not named
}

// wireUserAuth is a UserAuth on the wire.
type wireUserAuth struct {
	SessionID []byte
	Message   byte
	User      string
	Service   string
	Method    string
	Signature bool
	Algorithm string
	Key       []byte
	HostKey   []byte `ssh:"rest"` // an SSH string, or nothing
}

// ParseUserAuth reads exactly one login; accepted data is what
// [UserAuth.Marshal] makes. The result shares memory with data.
func ParseUserAuth(data []byte) (*UserAuth, error) {
	var w wireUserAuth
	if err := ssh.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("%w login: %v", ErrMalformed, err)
	}
	u := &UserAuth{SessionID: w.SessionID, User: w.User, Algorithm: w.Algorithm, Key: w.Key}
	if w.Method == methodHostBound {
		var host struct{ Key []byte }
		if err := ssh.Unmarshal(w.HostKey, &host); err != nil || len(host.Key) == 0 {
			return nil, fmt.Errorf("%w login: host key", ErrMalformed)
		}
		u.HostKey = host.Key
	}
	if len(u.SessionID) == 0 || len(u.SessionID) > limits.SSHSessionID {
		return nil, fmt.Errorf("%w login: session id of %d bytes", ErrMalformed, len(u.SessionID))
	}
	// Everything that has only one legal value, and any second spelling of
	// the rest, shows in the comparison.
	if !bytes.Equal(u.Marshal(), data) {
		return nil, fmt.Errorf("%w login: message %d, service %.80q, method %.80q", ErrMalformed, w.Message, w.Service, w.Method)
	}
	return u, nil
}

// Marshal is the data that a client signs to log in.
func (u *UserAuth) Marshal() []byte {
	w := wireUserAuth{
		SessionID: u.SessionID, Message: msgUserAuthRequest, User: u.User, Service: service,
		Method: methodPublicKey, Signature: true, Algorithm: u.Algorithm, Key: u.Key,
	}
	if u.HostKey != nil {
		w.Method = methodHostBound
		w.HostKey = ssh.Marshal(struct{ Key []byte }{u.HostKey})
	}
	return ssh.Marshal(w)
}
