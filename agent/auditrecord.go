package agent

import (
	"errors"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// record is a line of the audit log. It has what was decided, never what was
// signed.
type record struct {
	Seq         uint64             `json:"seq"`  // set by write, as are Prev,
	Prev        string             `json:"prev"` // Time and Unmirrored
	Time        string             `json:"time"` // RFC 3339, UTC
	Action      string             `json:"action"`
	Socket      Socket             `json:"socket"`
	UID         int                `json:"uid"`
	PID         int                `json:"pid,omitempty"`
	Key         key.ID             `json:"key,omitempty"`
	Ref         string             `json:"ref"`
	Form        Form               `json:"form,omitempty"`
	Namespace   string             `json:"namespace,omitempty"`
	Certificate *certificateRecord `json:"certificate,omitempty"`
	Digest      string             `json:"digest,omitempty"` // see Request.Digest
	SHA256      string             `json:"sha256,omitempty"` // of the bytes signed, if the agent saw them
	Outcome     outcome            `json:"outcome"`
	Code        string             `json:"code,omitempty"`       // of the error
	Unmirrored  uint64             `json:"unmirrored,omitempty"` // records that the system's log did not get
}

type outcome string

const (
	outcomeBegun   outcome = "begun" // to be followed by another
	outcomeDone    outcome = "done"
	outcomeRefused outcome = "refused" // by a rule or a person
	outcomeFailed  outcome = "failed"
)

// certificateRecord is for whom a certificate is, and when.
type certificateRecord struct {
	Kind           string   `json:"kind"` // user, host
	Serial         uint64   `json:"serial"`
	Principals     []string `json:"principals"`
	MorePrincipals int      `json:"more_principals,omitempty"`
	ValidAfter     string   `json:"valid_after,omitempty"`  // RFC 3339, UTC; from ever
	ValidBefore    string   `json:"valid_before,omitempty"` // for ever
}

func newRecord(action string, socket Socket, p Peer) record {
	return record{Action: action, Socket: socket, UID: p.UID, PID: p.PID, Outcome: outcomeBegun}
}

// end says how the action ended.
func (r *record) end(err error) {
	switch {
	case err == nil:
		r.Outcome = outcomeDone
	case errors.Is(err, key.ErrNotAllowed) || errors.Is(err, key.ErrDenied) || errors.Is(err, key.ErrLocked) || errors.Is(err, errOtherAgent):
		r.Outcome, r.Code = outcomeRefused, codeOf(err)
	default:
		r.Outcome, r.Code = outcomeFailed, codeOf(err)
	}
}

// newCertificateRecord describes a certificate to be signed; nil is for none.
// Principals are listed while there is room.
func newCertificateRecord(c *ssh.Certificate) *certificateRecord {
	if c == nil {
		return nil
	}
	r := &certificateRecord{Kind: "user", Serial: c.Serial, Principals: []string{}}
	if c.CertType == ssh.HostCert {
		r.Kind = "host"
	}
	room := limits.AuditPrincipals
	for _, p := range c.ValidPrincipals {
		if room -= len(p); room < 0 {
			break
		}
		r.Principals = append(r.Principals, p)
	}
	r.MorePrincipals = len(c.ValidPrincipals) - len(r.Principals)
	if c.ValidAfter > 0 {
		r.ValidAfter = time.Unix(int64(c.ValidAfter), 0).UTC().Format(time.RFC3339)
	}
	if c.ValidBefore != ssh.CertTimeInfinity {
		r.ValidBefore = time.Unix(int64(c.ValidBefore), 0).UTC().Format(time.RFC3339)
	}
	return r
}
