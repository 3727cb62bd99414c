package tpm

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// Binding says what shows that the attestation key is in the TPM of the EK
// certificate: an EK signs nothing, so evidence cannot show it. One way is given;
// the zero value shows nothing, and all evidence is refused as [AKNotBound].
type Binding struct {
	// Pending and Answer are a challenge that the verifier made and kept, and
	// what the TPM made of it.
	Pending *Pending
	Answer  *Answer
	// Enrolments are the words of somebody whom the verifier trusts and who
	// challenged TPMs. The caller verified them.
	Enrolments []Enrolment
	// UnboundUnsafe leaves the question open. Then anybody who has seen an EK
	// certificate, which is public, can have made the evidence in software.
	UnboundUnsafe bool
}

// Enrolment says that an attestation key is in the TPM with an EK certificate.
type Enrolment struct {
	EKCertificateSHA256 string    `json:"ek_cert_sha256"` // lower-case hexadecimal
	AKName              string    `json:"ak_name"`        // the same
	Time                time.Time `json:"time"`           // of the challenge's answer
}

// BoundBy is how the attestation key was bound to the EK certificate.
type BoundBy string

// The ways.
const (
	ByChallenge BoundBy = "challenge"
	ByEnrolment BoundBy = "enrolment"
)

func (b Binding) validate() error {
	ways := 0
	for _, given := range []bool{b.Pending != nil || b.Answer != nil, len(b.Enrolments) > 0, b.UnboundUnsafe} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return fmt.Errorf("a challenge, enrolments and none are three ways to bind the attestation key; give one: %w", key.ErrUsage)
	case (b.Pending == nil) != (b.Answer == nil):
		return fmt.Errorf("a challenge needs its answer: %w", key.ErrUsage)
	}
	return nil
}

func (a *attestation) verifyBinding(v *Verified, o VerifyOptions) error {
	b := o.Binding
	switch {
	case b.Pending != nil:
		return a.verifyAnswer(v, b.Pending, b.Answer, o.At)
	case len(b.Enrolments) > 0:
		return a.verifyEnrolments(v, b.Enrolments)
	case b.UnboundUnsafe:
		v.left("in which TPM the attestation key is, if in any: so all of this but the EK certificate may be made up")
		return nil
	}
	return hint.Wrap(refuse(AKNotBound, "nothing shows that the attestation key %x is in the TPM with this EK certificate", a.akName),
		"challenge the TPM: sealsmith tpm challenge", "or give the enrolment of somebody who did: --enrolment and --enroller")
}

func (a *attestation) verifyAnswer(v *Verified, p *Pending, answer *Answer, at time.Time) error {
	switch age := at.Sub(p.Created); {
	case p.EKCertificateSHA256 != v.EKCertificateSHA256:
		return hint.Wrap(refuse(ChallengeMismatch, "the challenge is for the TPM with EK certificate %.64s, the evidence has %s", p.EKCertificateSHA256, v.EKCertificateSHA256),
			"challenge the TPM of this evidence: sealsmith tpm challenge")
	case p.AKName != formatName(a.akName) || answer.AKName != p.AKName:
		return hint.Wrap(refuse(ChallengeMismatch, "the challenge is for the attestation key %.68s, its answer for %.68s, the evidence by %x", p.AKName, answer.AKName, a.akName),
			"a TPM that was cleared has another attestation key; make new evidence and challenge it")
	case age < 0:
		return refuse(ChallengeExpired, "the challenge was made later, at %s", p.Created.Format(time.RFC3339))
	case age > limits.ChallengeAge:
		return hint.Wrap(refuse(ChallengeExpired, "the challenge was made at %s; it is good for %s", p.Created.Format(time.RFC3339), limits.ChallengeAge),
			"make another: sealsmith tpm challenge")
	}
	sum := sha256.Sum256(answer.Secret)
	if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(p.SecretSHA256)) != 1 {
		return hint.Wrap(refuse(WrongAnswer, "the answer is not the secret of the challenge"),
			"an answer belongs to one challenge, the last that was made with its --pending file")
	}
	v.BoundBy = ByChallenge
	v.passed("the attestation key is in the TPM of the EK certificate: that TPM answered the challenge of %s", p.Created.Format(time.RFC3339))
	return nil
}

func (a *attestation) verifyEnrolments(v *Verified, enrolments []Enrolment) error {
	for _, e := range enrolments {
		if e.EKCertificateSHA256 == v.EKCertificateSHA256 && e.AKName == formatName(a.akName) {
			v.BoundBy = ByEnrolment
			v.passed("the attestation key is in the TPM of the EK certificate: it was enrolled at %s", e.Time.UTC().Format(time.RFC3339))
			return nil
		}
	}
	return hint.Wrap(refuse(EnrolmentMismatch, "no enrolment is of the attestation key %x together with the EK certificate %s", a.akName, v.EKCertificateSHA256),
		"a TPM that was cleared has another attestation key, and must be enrolled again: sealsmith tpm enrol")
}
