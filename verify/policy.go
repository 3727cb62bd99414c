package verify

import (
	"fmt"
	"slices"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/key"
)

// Format is a signature format.
type Format string

// The formats that can be verified.
const (
	SSHSIG   Format = "sshsig"
	Sigstore Format = "sigstore"
)

// Formats lists the formats.
var Formats = []Format{SSHSIG, Sigstore}

// ParseFormat accepts exactly the texts of [Formats]. Its error wraps
// [key.ErrUsage].
func ParseFormat(s string) (Format, error) {
	if f := Format(s); slices.Contains(Formats, f) {
		return f, nil
	}
	return "", hint.Wrap(fmt.Errorf("unknown signature format %.40q: %w", s, key.ErrUsage), "choose sshsig or sigstore")
}

// Policy says which signatures are good enough. Every field is required, except
// Namespace where no SSHSIG is.
type Policy struct {
	// Trust says whose signatures count.
	Trust *Trust
	// Require lists the formats that must be there and verify; the others
	// are neither looked at nor accepted.
	Require []Format
	// Namespace is the one that an SSHSIG must have been made for. A Sigstore
	// bundle has none: there it only restricts allowed signers, whose
	// namespaces option must include it.
	Namespace string
	// At is when the signers must be valid: now, unless somebody checks what
	// was true at another time.
	At time.Time
}

// Validate reports whether the policy is complete. Its errors wrap
// [key.ErrUsage].
func (p Policy) Validate() error {
	switch {
	case p.Trust == nil || len(p.Trust.candidates()) == 0:
		return fmt.Errorf("policy trusts nobody: %w", key.ErrUsage)
	case len(p.Require) == 0:
		return fmt.Errorf("policy requires no signature: %w", key.ErrUsage)
	case p.At.IsZero():
		return fmt.Errorf("policy has no time: %w", key.ErrUsage)
	}
	for _, f := range p.Require {
		if _, err := ParseFormat(string(f)); err != nil {
			return err
		}
	}
	if p.Namespace == "" && !slices.Contains(p.Require, SSHSIG) {
		return nil
	}
	if err := sshsig.CheckNamespace(p.Namespace); err != nil {
		return fmt.Errorf("policy: %w: %w", err, key.ErrUsage)
	}
	return nil
}

// Verifier verifies by one policy. It is safe for concurrent use.
type Verifier struct {
	policy Policy
}

// New makes a verifier. It fails with [key.ErrUsage] for a policy that is not
// complete.
func New(p Policy) (*Verifier, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	p.Require = slices.Clone(p.Require)
	return &Verifier{p}, nil
}

// need refuses to verify a format that the policy does not name.
func (v *Verifier) need(f Format) error {
	if !slices.Contains(v.policy.Require, f) {
		return fmt.Errorf("policy does not name the format %s: %w", f, key.ErrUsage)
	}
	return nil
}
