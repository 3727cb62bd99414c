package verify

import (
	"errors"
	"fmt"
)

// ErrRefused is wrapped by every refusal, so that it can be told from a check
// that could not be made.
var ErrRefused = errors.New("refused")

// Reason is the kind of a [Refusal].
type Reason string

// The reasons.
const (
	NoSignature      Reason = "no signature"
	Malformed        Reason = "malformed signature"
	WrongKey         Reason = "wrong key"
	ChangedFile      Reason = "changed file"
	OtherContent     Reason = "other content"
	MalformedFile    Reason = "malformed file"
	MissingFile      Reason = "missing file"
	ExtraFile        Reason = "extra file"
	InvalidSignature Reason = "invalid signature"
	WrongNamespace   Reason = "wrong namespace"
	WrongStatement   Reason = "wrong statement"
	UnknownIdentity  Reason = "unknown identity"
	NotYetValid      Reason = "signer not yet valid"
	Expired          Reason = "signer expired"
	TooFewSigners    Reason = "too few signers"
	TrustInside      Reason = "trust from the checked folder"
	OlderRelease     Reason = "older release"
	OtherRelease     Reason = "another release of the same day"
	FutureRelease    Reason = "release from the future"
)

// Refusal is an error that says what is wrong, in one line. It wraps
// [ErrRefused].
type Refusal struct {
	Reason Reason
	Err    error // the detail
}

// Error implements error.
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %v", r.Reason, r.Err) }

// Unwrap gives errors.Is the class and the detail.
func (r *Refusal) Unwrap() []error { return []error{ErrRefused, r.Err} }

func refuse(reason Reason, format string, args ...any) error {
	return &Refusal{reason, fmt.Errorf(format, args...)}
}
