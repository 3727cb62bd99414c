package agent

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/sshwire"
)

// destinations are the hosts at which a key may be used, and through which
// (OpenSSH PROTOCOL.agent, section 2.2): ssh-add -h. A list that is not nil is
// never empty.
type destinations []destination

// destination allows a key to be used by one host for a login at another.
type destination struct{ from, to hop }

// hop is a host. Without a name it is the one that the agent runs on.
type hop struct {
	user string // a pattern; empty: any
	host string
	keys []hopKey
}

type hopKey struct {
	blob []byte
	ca   bool // certifies host keys, and is none
}

// parseDestinations reads the details of the constraint. The result shares no
// memory with them.
func parseDestinations(details []byte) (destinations, error) {
	var all destinations
	for len(details) > 0 {
		var m struct {
			Constraint []byte
			Rest       []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(details, &m); err != nil {
			return nil, fmt.Errorf("destinations: %w", err)
		}
		if len(all) == limits.Destinations {
			return nil, fmt.Errorf("more than %d destinations", limits.Destinations)
		}
		d, err := parseDestination(m.Constraint)
		if err != nil {
			return nil, fmt.Errorf("destination %d: %w", len(all)+1, err)
		}
		all, details = append(all, d), m.Rest
	}
	if all == nil {
		return nil, errors.New("restricted to no destination")
	}
	return all, nil
}

func parseDestination(data []byte) (d destination, err error) {
	var m struct{ From, To, Reserved []byte }
	if err := ssh.Unmarshal(data, &m); err != nil {
		return d, err
	}
	if d.from, err = parseHop(m.From); err != nil {
		return d, fmt.Errorf("from: %w", err)
	}
	if d.to, err = parseHop(m.To); err != nil {
		return d, fmt.Errorf("to: %w", err)
	}
	switch {
	case len(m.Reserved) > 0:
		return d, errors.New("reserved field is not empty")
	case d.from.user != "":
		return d, errors.New("from a user")
	case (d.from.host == "") != (len(d.from.keys) == 0):
		return d, errors.New("from a host without keys, or keys without a host")
	case d.to.host == "" || len(d.to.keys) == 0:
		return d, errors.New("to no host, or to one without keys")
	}
	return d, nil
}

func parseHop(data []byte) (h hop, err error) {
	var m struct {
		User, Host string
		Reserved   []byte
		Keys       []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(data, &m); err != nil {
		return h, err
	}
	if len(m.Reserved) > 0 {
		return h, errors.New("reserved field is not empty")
	}
	if len(m.User) > limits.HopText || len(m.Host) > limits.HopText {
		return h, fmt.Errorf("user of %d and host of %d bytes, at most %d", len(m.User), len(m.Host), limits.HopText)
	}
	h.user, h.host = m.User, m.Host
	for len(m.Keys) > 0 {
		var k struct {
			Blob []byte
			CA   bool
			Rest []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(m.Keys, &k); err != nil {
			return h, fmt.Errorf("key: %w", err)
		}
		// Kinds of keys that are newer than we are do not match any that we can
		// verify, and must not keep a person from adding the key.
		if len(k.Blob) == 0 {
			return h, errors.New("empty key")
		}
		h.keys, m.Keys = append(h.keys, hopKey{bytes.Clone(k.Blob), k.CA}), k.Rest
	}
	return h, nil
}

// matches says whether the host key is one of the host's. The certificate is that
// of the blob if it is one.
func (h hop) matches(blob []byte, cert *ssh.Certificate) bool {
	return slices.ContainsFunc(h.keys, func(k hopKey) bool {
		if cert == nil || !k.ca {
			return cert == nil && !k.ca && bytes.Equal(k.blob, blob)
		}
		return bytes.Equal(k.blob, cert.SignatureKey.Marshal()) && certifies(cert, h.host, time.Now())
	})
}

// certifies says whether a certificate, whose signature was verified when the
// connection was bound, is good for a host at a time.
func certifies(c *ssh.Certificate, host string, now time.Time) bool {
	unix := uint64(now.Unix())
	return c.CertType == ssh.HostCert && len(c.CriticalOptions) == 0 &&
		c.Signature.Format != ssh.KeyAlgoRSA && // SHA-1
		unix >= c.ValidAfter && unix < c.ValidBefore &&
		slices.ContainsFunc(c.ValidPrincipals, func(pattern string) bool { return sshsig.MatchPattern(pattern, host) })
}

// session is what a connection of the SSH socket was bound to.
type session struct {
	binds bindings
	// attempted says that a client tried to bind the connection, which it then
	// is not ours alone, even if that failed.
	attempted bool
}

// remote says whether somebody else than a local program may be at the other end.
func (s *session) remote() bool { return s.attempted || len(s.binds) > 0 }

// permits says whether a key with these destinations may be seen on a connection,
// or, with a user, used for that user's login there. It returns the name of the
// host, if the connection is bound.
func (d destinations) permits(s session, user *string) (host string, ok bool) {
	switch {
	case d == nil:
		return "", true
	case len(s.binds) == 0:
		return "", !s.attempted
	}
	var from []byte
	var fromCert *ssh.Certificate
	for i, b := range s.binds {
		last := i == len(s.binds)-1
		if !last && !b.forwarding || last && b.forwarding && user != nil {
			return "", false
		}
		cert := certificateOf(b.hostKey)
		found := slices.IndexFunc(d, func(one destination) bool {
			return one.isFrom(from, fromCert) && one.to.matches(b.hostKey, cert) &&
				(!last || user == nil || one.to.user == "" || sshsig.MatchPattern(one.to.user, *user))
		})
		if found < 0 {
			return "", false
		}
		host, from, fromCert = d[found].to.host, b.hostKey, cert
	}
	// Who forwards the agent is shown what it may be used for beyond that host.
	if s.binds[len(s.binds)-1].forwarding {
		return host, slices.ContainsFunc(d, func(one destination) bool { return one.from.matches(from, fromCert) })
	}
	return host, true
}

// isFrom says whether the hop begins at the host with this key, or, without one,
// here.
func (d destination) isFrom(blob []byte, cert *ssh.Certificate) bool {
	if blob == nil {
		return d.from.host == ""
	}
	return d.from.matches(blob, cert)
}

// permitsLogin says whether a key with these destinations signs on a connection; u
// is the login that it is to sign, nil if it is none. It returns the host's name.
func (d destinations) permitsLogin(s session, u *sshwire.UserAuth) (host string, err error) {
	switch {
	case d == nil:
		return "", nil
	case len(s.binds) == 0:
		return "", refuse("key restricted to destinations on a connection that is bound to none")
	case u == nil:
		return "", refuse("key restricted to destinations for something that is no login")
	}
	host, ok := d.permits(s, &u.User)
	last := s.binds[len(s.binds)-1]
	switch {
	case !ok:
		return "", refuse("login that the key's destinations do not include")
	case subtle.ConstantTimeCompare(last.sessionID, u.SessionID) != 1:
		return "", refuse("login in another session than the connection's")
	case u.HostKey == nil && len(s.binds) > 1:
		return "", refuse("login through a forwarded agent that does not name its host")
	case u.HostKey != nil && !bytes.Equal(last.hostKey, u.HostKey):
		return "", refuse("login at another host than the connection's")
	}
	return host, nil
}
