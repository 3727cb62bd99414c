package agent

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// What a client may demand for a key that it adds (RFC 9987; OpenSSH
// PROTOCOL.agent, section 2).
const (
	constrainLifetime  = 1
	constrainConfirm   = 2
	constrainExtension = 255

	constraintDestinations = "restrict-destination-v00@openssh.com"
)

// constraints limit the use of a software key. The zero value limits nothing.
type constraints struct {
	lifetime     time.Duration // 0: until it is removed
	confirm      bool          // a person is asked at each use
	destinations destinations  // nil: everywhere
}

// parseConstraints reads constraints to the end of data. One that is not known
// cannot be skipped, and one that is not honoured must not be taken: any error
// refuses the key.
func parseConstraints(data []byte) (c constraints, err error) {
	seen := map[byte]bool{}
	for len(data) > 0 {
		kind := data[0]
		if seen[kind] {
			return constraints{}, fmt.Errorf("two constraints of the kind %d", kind)
		}
		seen[kind] = true
		if data, err = c.take(kind, data[1:]); err != nil {
			return constraints{}, err
		}
	}
	return c, nil
}

// take reads the data of one constraint and returns what follows it.
func (c *constraints) take(kind byte, data []byte) (rest []byte, err error) {
	switch kind {
	case constrainLifetime:
		var m struct {
			Seconds uint32
			Rest    []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(data, &m); err != nil {
			return nil, fmt.Errorf("lifetime: %w", err)
		}
		if m.Seconds == 0 {
			return nil, errors.New("lifetime of nothing")
		}
		c.lifetime = time.Duration(m.Seconds) * time.Second
		return m.Rest, nil
	case constrainConfirm:
		c.confirm = true
		return data, nil
	case constrainExtension:
		var m struct {
			Name, Details []byte
			Rest          []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(data, &m); err != nil {
			return nil, fmt.Errorf("constraint: %w", err)
		}
		if string(m.Name) != constraintDestinations {
			return nil, fmt.Errorf("unknown constraint %.200q", m.Name)
		}
		c.destinations, err = parseDestinations(m.Details)
		return m.Rest, err
	}
	return nil, fmt.Errorf("unknown constraint %d", kind)
}
