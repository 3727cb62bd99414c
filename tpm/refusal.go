package tpm

import (
	"errors"
	"fmt"
)

// ErrRefused is wrapped by every [Refusal], so that it can be told from a check
// that could not be made.
var ErrRefused = errors.New("refused")

// Reason is the kind of a [Refusal]. The texts are stable; docs/spec/evidence.md
// explains them.
type Reason string

// The reasons.
const (
	Malformed         Reason = "malformed"          // not what the specification allows
	EKUntrusted       Reason = "ek-untrusted"       // the EK certificate leads to no trusted root
	EKPublicMismatch  Reason = "ek-public-mismatch" // the EK's public area is not that of the certificate's key, or of no EK
	AKNotRestricted   Reason = "ak-not-restricted"  // the attestation key signs what its owner likes
	AKUnfit           Reason = "ak-unfit"           // otherwise no attestation key
	BadSignature      Reason = "bad-signature"      // the attestation key did not sign this
	NotACertify       Reason = "not-a-certify"      // the TPM did not make it, or about something else
	NonceMismatch     Reason = "nonce-mismatch"     // made for another nonce than the one wanted
	KeyNotCertified   Reason = "key-not-certified"  // the TPM vouched for another key
	Imported          Reason = "imported"           // the key was made outside
	Duplicable        Reason = "duplicable"         // the key may leave the TPM
	KeyUnfit          Reason = "key-unfit"          // the key signs nothing that we verify
	AKNotBound        Reason = "ak-not-bound"       // nothing says in which TPM the attestation key is
	ChallengeMismatch Reason = "challenge-mismatch" // challenge of another EK or attestation key
	ChallengeExpired  Reason = "challenge-expired"  // answered too late
	WrongAnswer       Reason = "wrong-answer"       // not the secret of the challenge
	EnrolmentMismatch Reason = "enrolment-mismatch" // enrolments, but of other EKs or attestation keys
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
