package provenance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// EnrolmentType is the predicate type of an [Enrolment].
const EnrolmentType = "https://sealsmith.github.io/tpm-enrolment/v1"

// sha256Name is how the Name of a TPM object begins that is made with SHA-256, in
// hexadecimal (TPM 2.0 part 1, section 16).
const sha256Name = "000b"

// Enrolment says that the TPM with an EK certificate holds an attestation key:
// whoever signs it challenged that TPM (docs/spec/evidence.md).
type Enrolment struct {
	EKCertificateSHA256 string    `json:"ek_cert_sha256"` // lower-case hexadecimal
	AKName              string    `json:"ak_name"`        // the same
	Time                time.Time `json:"time"`           // when the TPM's answer was verified
}

// Statement is the enrolment as it is signed. Its subjects are what a prompt
// shows. Its errors wrap [ErrStatement].
func (e Enrolment) Statement() (*Statement, error) {
	hash, found := strings.CutPrefix(e.AKName, sha256Name)
	if !found || e.Time.IsZero() || e.Time.Location() != time.UTC {
		return nil, fmt.Errorf("%w: attestation key %.80q, time %s", ErrStatement, e.AKName, e.Time)
	}
	return NewStatement([]Subject{
		{Name: "ek certificate", Digest: map[string]string{"sha256": e.EKCertificateSHA256}},
		{Name: "attestation key", Digest: map[string]string{"sha256": hash}},
	}, EnrolmentType, e)
}

// ParseEnrolment reads the enrolment of a statement, which must be the one that
// [Enrolment.Statement] makes of it, to the byte but for white space. Its errors
// wrap [ErrStatement].
func ParseEnrolment(s *Statement) (Enrolment, error) {
	var e Enrolment
	if err := json.Unmarshal(s.Predicate, &e); err != nil {
		return Enrolment{}, fmt.Errorf("%w: predicate: %v", ErrStatement, err)
	}
	own, err := e.Statement()
	if err != nil {
		return Enrolment{}, err
	}
	want, err := own.Marshal()
	if err != nil {
		return Enrolment{}, err
	}
	got, err := s.Marshal()
	if err != nil {
		return Enrolment{}, err
	}
	if !bytes.Equal(got, want) {
		return Enrolment{}, fmt.Errorf("%w: not an enrolment: its subjects are not those of its predicate, or it says more", ErrStatement)
	}
	return e, nil
}
