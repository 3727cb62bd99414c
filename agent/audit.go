package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// AuditLog is a file of JSON objects, each a line: docs/spec/audit-log.md. It is
// safe for concurrent use, also by other processes.
type AuditLog struct {
	mu sync.Mutex
	f  *os.File
}

// OpenAuditLog opens or makes the file, mode 0600, to append to it. It refuses
// what is not a regular file of our own user.
func OpenAuditLog(path string) (*AuditLog, error) {
	// A pipe would block us, or tell its reader.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_RDWR|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !(info.Mode().IsRegular() && int(info.Sys().(*syscall.Stat_t).Uid) == os.Getuid()) {
		err = hint.Wrap(fmt.Errorf("%s is no regular file of our own", path), "move it away; a new one will be made")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("audit log: %w", err), f.Close())
	}
	return &AuditLog{f: f}, nil
}

// Close closes the file.
func (a *AuditLog) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.f.Close()
}

// record is a line of the audit log. It has what was decided, never what was
// signed.
type record struct {
	Time      string  `json:"time"` // RFC 3339, UTC; set by write
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
	outcomeBegun   outcome = "begun" // to be followed by another
	outcomeDone    outcome = "done"
	outcomeRefused outcome = "refused" // by a rule or a person
	outcomeFailed  outcome = "failed"
)

func newRecord(action string, socket Socket, p Peer) record {
	return record{Action: action, Socket: socket, UID: p.UID, PID: p.PID, Outcome: outcomeBegun}
}

// end says how the action ended.
func (r *record) end(err error) {
	switch {
	case err == nil:
		r.Outcome = outcomeDone
	case errors.Is(err, key.ErrNotAllowed) || errors.Is(err, key.ErrDenied) || errors.Is(err, key.ErrLocked):
		r.Outcome, r.Code = outcomeRefused, codeOf(err)
	default:
		r.Outcome, r.Code = outcomeFailed, codeOf(err)
	}
}

// write appends a line in one system call, so that lines never mix.
func (a *AuditLog) write(r record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Time = time.Now().UTC().Format(time.RFC3339Nano)
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	torn, err := a.torn()
	if torn {
		line = append([]byte("\n"), line...)
	}
	if err == nil {
		_, err = a.f.Write(append(line, '\n'))
	}
	if err != nil {
		return hint.Wrap(fmt.Errorf("audit log: %w", err), "see whether the disk of the audit log is full")
	}
	return nil
}

// torn says whether the last line has no end: a full disk or a crash cut it. What
// is appended to such a line would be lost with it.
func (a *AuditLog) torn() (bool, error) {
	info, err := a.f.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	var last [1]byte
	_, err = a.f.ReadAt(last[:], info.Size()-1)
	return last[0] != '\n', err
}
