package agent

import (
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// ErrNoAgent is wrapped by [Dial]'s error if nobody serves the socket.
var ErrNoAgent = errors.New("no agent answers")

// Codes without a class of their own in package key.
const (
	codePIN        = "wrong_pin"
	codeLockout    = "locked_out"
	codeUnreadable = "unreadable"
	codeOtherAgent = "other_agent"
	codeInternal   = "internal"
	codeNoEndpoint = "no_endpoint"
)

// errOtherAgent is what another agent's refusal comes to: it has no word for why.
var errOtherAgent = errors.New("it does not sign this, and its own log may say why")

// codes are the classes of errors on the control socket, both ways.
var codes = []struct {
	code   string
	status int
	err    error
}{
	{"not_found", http.StatusNotFound, key.ErrNotFound},
	{"exists", http.StatusConflict, key.ErrExists},
	{"ambiguous", http.StatusConflict, key.ErrAmbiguous},
	{"usage", http.StatusBadRequest, key.ErrUsage},
	{"not_allowed", http.StatusForbidden, key.ErrNotAllowed},
	{"denied", http.StatusForbidden, key.ErrDenied},
	{"locked", http.StatusLocked, key.ErrLocked},
	{"unsupported", http.StatusUnprocessableEntity, key.ErrUnsupported},
	{"no_device", http.StatusServiceUnavailable, key.ErrNoDevice},
	{"busy", http.StatusServiceUnavailable, key.ErrBusy},
	{"foreign", http.StatusConflict, key.ErrForeign},
	{"configuration", http.StatusUnprocessableEntity, ErrConfiguration},
}

// wireError is an error on the control socket.
type wireError struct {
	Code            string   `json:"code"`
	Message         string   `json:"message"`
	Hints           []string `json:"hints,omitempty"`
	Ref             string   `json:"ref,omitempty"`              // of unreadable: the key that is meant
	TriesLeft       *int     `json:"tries_left,omitempty"`       // of wrong_pin, if known
	RecoverySeconds *int64   `json:"recovery_seconds,omitempty"` // of locked_out, if known
}

// encodeError describes an error for the client, in bounded size.
func encodeError(err error) (status int, w wireError) {
	w = wireError{Message: shorten(err.Error())}
	for _, text := range hint.Of(err) {
		w.Hints = append(w.Hints, shorten(text))
	}
	status, w.Code = classOf(err)
	var pin *key.PINError
	if errors.As(err, &pin) && pin.TriesLeft >= 0 {
		w.TriesLeft = &pin.TriesLeft
	}
	var lockout *key.LockoutError
	if errors.As(err, &lockout) && lockout.Recovery > 0 {
		seconds := int64(lockout.Recovery / time.Second)
		w.RecoverySeconds = &seconds
	}
	var unreadable *key.KeyError
	if errors.As(err, &unreadable) {
		w.Ref = unreadable.Ref.String()
	}
	return status, w
}

// shorten cuts text that is longer than [limits.ErrorText], visibly.
func shorten(s string) string {
	if len(s) <= limits.ErrorText {
		return s
	}
	n := limits.ErrorText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

func codeOf(err error) string {
	_, code := classOf(err)
	return code
}

func classOf(err error) (status int, code string) {
	var pin *key.PINError
	var lockout *key.LockoutError
	var unreadable *key.KeyError
	switch {
	case errors.As(err, &unreadable):
		return http.StatusInternalServerError, codeUnreadable
	case errors.As(err, &pin):
		return http.StatusForbidden, codePIN
	case errors.As(err, &lockout):
		return http.StatusServiceUnavailable, codeLockout
	case errors.Is(err, errOtherAgent): // never on this socket, but in the audit log
		return http.StatusForbidden, codeOtherAgent
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.status, c.code
		}
	}
	return http.StatusInternalServerError, codeInternal
}

// classError is an error of a class whose text it does not repeat: one that the
// agent described, or one that fits its class by its code only.
type classError struct {
	message string
	class   error
}

// Error implements error.
func (e *classError) Error() string { return e.message }

// Unwrap returns the class, or nil.
func (e *classError) Unwrap() error { return e.class }

// decode is the inverse of encodeError.
func (w wireError) decode() error {
	e := &classError{message: w.Message}
	switch w.Code {
	case codePIN:
		pin := &key.PINError{TriesLeft: -1}
		if w.TriesLeft != nil {
			pin.TriesLeft = *w.TriesLeft
		}
		e.class = pin
	case codeLockout:
		lockout := &key.LockoutError{}
		if w.RecoverySeconds != nil {
			lockout.Recovery = time.Duration(*w.RecoverySeconds) * time.Second
		}
		e.class = lockout
	case codeUnreadable:
		ref, err := key.ParseRef(w.Ref)
		if err != nil {
			break // it stands in the way of every name
		}
		return &key.KeyError{Ref: ref, Err: hint.Wrap(e, w.Hints...)}
	}
	for _, c := range codes {
		if w.Code == c.code {
			e.class = c.err
		}
	}
	return hint.Wrap(e, w.Hints...)
}
