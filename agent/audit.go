package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// AuditLog is a file of one JSON object a line for each request to sign, create
// or delete. It is safe for concurrent use.
type AuditLog struct {
	mu sync.Mutex
	w  io.WriteCloser
}

// OpenAuditLog opens or makes the file, mode 0600, to append to it.
func OpenAuditLog(path string) (*AuditLog, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return &AuditLog{w: f}, nil
}

// Close closes the file.
func (a *AuditLog) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.w.Close()
}

// record is a line of the audit log. It has what was decided, never what was
// signed.
type record struct {
	Time      string  `json:"time"` // RFC 3339, UTC
	Action    string  `json:"action"`
	Socket    Socket  `json:"socket"`
	UID       int     `json:"uid"`
	PID       int     `json:"pid,omitempty"`
	Key       key.ID  `json:"key,omitempty"`
	Ref       string  `json:"ref"`
	Form      Form    `json:"form,omitempty"`
	Namespace string  `json:"namespace,omitempty"`
	Digest    string  `json:"digest,omitempty"` // see Request.Digest
	SHA256    string  `json:"sha256,omitempty"` // of the bytes signed, if the agent saw them
	Outcome   outcome `json:"outcome"`
	Code      string  `json:"code,omitempty"` // of the error
}

type outcome string

const (
	outcomeDone    outcome = "done"
	outcomeRefused outcome = "refused" // by a rule or a person
	outcomeFailed  outcome = "failed"
)

func newRecord(action string, socket Socket, p Peer, err error) record {
	r := record{Time: time.Now().UTC().Format(time.RFC3339Nano), Action: action, Socket: socket, UID: p.UID, PID: p.PID}
	switch {
	case err == nil:
		r.Outcome = outcomeDone
	case errors.Is(err, key.ErrNotAllowed) || errors.Is(err, key.ErrDenied) || errors.Is(err, key.ErrLocked):
		r.Outcome, r.Code = outcomeRefused, codeOf(err)
	default:
		r.Outcome, r.Code = outcomeFailed, codeOf(err)
	}
	return r
}

// write appends a line in one system call, so that lines never mix.
func (a *AuditLog) write(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.w.Write(append(line, '\n')); err != nil {
		return hint.Wrap(fmt.Errorf("audit log: %w", err), "nothing is signed that cannot be recorded: see whether the disk is full")
	}
	return nil
}
