package sshwire

import (
	"bytes"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// hostKeyProof begins what a server signs to prove that it has a host key which it
// offers for later (OpenSSH PROTOCOL, section 2.5).
const hostKeyProof = "hostkeys-prove-00@openssh.com"

// HostKeyProof is what a server signs to prove that it has a host key.
type HostKeyProof struct {
	SessionID []byte // 1 to 128 bytes
	HostKey   []byte // public key blob
}

// wireHostKeyProof is a HostKeyProof on the wire.
type wireHostKeyProof struct {
	Name      string
	SessionID []byte
	HostKey   []byte
}

// ParseHostKeyProof reads exactly one proof; accepted data is what
// [HostKeyProof.Marshal] makes. The result shares memory with data.
func ParseHostKeyProof(data []byte) (*HostKeyProof, error) {
	var w wireHostKeyProof
	if err := ssh.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("%w host key proof: %v", ErrMalformed, err)
	}
	p := &HostKeyProof{SessionID: w.SessionID, HostKey: w.HostKey}
	if len(p.SessionID) == 0 || len(p.SessionID) > limits.SSHSessionID {
		return nil, fmt.Errorf("%w host key proof: session id of %d bytes", ErrMalformed, len(p.SessionID))
	}
	if !bytes.Equal(p.Marshal(), data) {
		return nil, fmt.Errorf("%w host key proof: begins with %.80q", ErrMalformed, w.Name)
	}
	return p, nil
}

// Marshal is the data that a server signs.
func (p *HostKeyProof) Marshal() []byte {
	return ssh.Marshal(wireHostKeyProof{hostKeyProof, p.SessionID, p.HostKey})
}
