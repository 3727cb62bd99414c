package tpm

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Challenge is a secret that only the TPM with an endorsement key can read, and
// only if it also holds an attestation key (docs/spec/evidence.md). It is no
// secret itself.
type Challenge struct {
	EKCertificateSHA256 string // lower-case hexadecimal
	AKName              string // the same
	Credential          []byte // content of TPM2B_ID_OBJECT
	Secret              []byte // content of TPM2B_ENCRYPTED_SECRET
}

// Answer is what the TPM read in a [Challenge].
type Answer struct {
	AKName string // lower-case hexadecimal
	Secret []byte
}

// Pending is what the verifier keeps of a [Challenge] until its [Answer] comes.
// Whoever can write it can answer for any TPM.
type Pending struct {
	EKCertificateSHA256 string // lower-case hexadecimal
	AKName              string // the same
	SecretSHA256        string // the same
	Created             time.Time
}

const (
	challengeFormat = "sealsmith challenge v1"
	answerFormat    = "sealsmith answer v1"
	pendingFormat   = "sealsmith pending challenge v1"

	// challengeSecret is the size of the secret, in octets: as much as an EK
	// whose Name is made with SHA-256 takes.
	challengeSecret = sha256.Size
)

type challengeJSON struct {
	Format              string `json:"format"`
	EKCertificateSHA256 string `json:"ek_certificate_sha256"`
	AKName              string `json:"ak_name"`
	Credential          []byte `json:"credential"`
	Secret              []byte `json:"secret"`
}

type answerJSON struct {
	Format string `json:"format"`
	AKName string `json:"ak_name"`
	Secret []byte `json:"secret"`
}

type pendingJSON struct {
	Format              string    `json:"format"`
	EKCertificateSHA256 string    `json:"ek_certificate_sha256"`
	AKName              string    `json:"ak_name"`
	SecretSHA256        string    `json:"secret_sha256"`
	Created             time.Time `json:"created"`
}

// NewChallenge makes a challenge for the TPM that evidence is said to come from,
// and what is to be kept of it. It checks that the endorsement and the attestation
// key are such keys, and not that anybody should trust them: [VerifyAttestation]
// does.
func NewChallenge(e *Evidence, now time.Time) (*Challenge, *Pending, error) {
	a, err := parseAttestation(e)
	if err != nil {
		return nil, nil, err
	}
	if err := cmp.Or(a.checkEKPublic(), a.checkAK()); err != nil {
		return nil, nil, err
	}
	ek, err := tpm2.ImportEncapsulationKey(a.ekPublic)
	if err != nil {
		return nil, nil, refuse(EKPublicMismatch, "%w", err)
	}
	secret := make([]byte, challengeSecret)
	rand.Read(secret) // never fails
	credential, encrypted, err := tpm2.CreateCredential(rand.Reader, ek, a.akName, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("encrypt challenge: %w", err)
	}
	hash := sha256.Sum256(secret)
	clear(secret)
	return &Challenge{e.EKCertificateSHA256(), formatName(a.akName), credential, encrypted},
		&Pending{e.EKCertificateSHA256(), formatName(a.akName), hex.EncodeToString(hash[:]), now.UTC().Truncate(time.Second)}, nil
}

// ParseChallenge reads a challenge. Its error is a [*Refusal] as [Malformed].
func ParseChallenge(data []byte) (*Challenge, error) {
	var j challengeJSON
	err := parseDocument(data, limits.Challenge, challengeFormat, &j)
	c := &Challenge{j.EKCertificateSHA256, j.AKName, j.Credential, j.Secret}
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return nil, refuse(Malformed, "challenge: %w", err)
	}
	return c, nil
}

// Encode writes a challenge that [ParseChallenge] reads back.
func (c *Challenge) Encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("challenge: %w", err)
	}
	return encodeDocument(limits.Challenge, challengeJSON{challengeFormat, c.EKCertificateSHA256, c.AKName, c.Credential, c.Secret})
}

func (c *Challenge) check() error {
	if len(c.Credential) == 0 || len(c.Secret) == 0 {
		return errors.New("a part is empty")
	}
	return cmp.Or(isSHA256(c.EKCertificateSHA256), isName(c.AKName))
}

// ParseAnswer reads an answer. Its error is a [*Refusal] as [Malformed].
func ParseAnswer(data []byte) (*Answer, error) {
	var j answerJSON
	err := parseDocument(data, limits.Challenge, answerFormat, &j)
	a := &Answer{j.AKName, j.Secret}
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return nil, refuse(Malformed, "answer: %w", err)
	}
	return a, nil
}

// Encode writes an answer that [ParseAnswer] reads back.
func (a *Answer) Encode() ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return encodeDocument(limits.Challenge, answerJSON{answerFormat, a.AKName, a.Secret})
}

func (a *Answer) check() error {
	if len(a.Secret) == 0 {
		return errors.New("a part is empty")
	}
	return isName(a.AKName)
}

// ParsePending reads a pending challenge. Its error is a [*Refusal] as
// [Malformed].
func ParsePending(data []byte) (*Pending, error) {
	var j pendingJSON
	err := parseDocument(data, limits.Challenge, pendingFormat, &j)
	p := &Pending{j.EKCertificateSHA256, j.AKName, j.SecretSHA256, j.Created}
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return nil, refuse(Malformed, "pending challenge: %w", err)
	}
	return p, nil
}

// Encode writes a pending challenge that [ParsePending] reads back.
func (p *Pending) Encode() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("pending challenge: %w", err)
	}
	return encodeDocument(limits.Challenge, pendingJSON{pendingFormat, p.EKCertificateSHA256, p.AKName, p.SecretSHA256, p.Created})
}

func (p *Pending) check() error {
	if p.Created.IsZero() || p.Created.Location() != time.UTC {
		return errors.New("no time, or not in UTC")
	}
	return cmp.Or(isSHA256(p.EKCertificateSHA256), isName(p.AKName), isSHA256(p.SecretSHA256))
}

func isName(text string) error {
	_, err := parseName(text)
	return err
}

func isSHA256(text string) error {
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != sha256.Size || hex.EncodeToString(sum) != text {
		return fmt.Errorf("bad SHA-256 %.80q", text)
	}
	return nil
}
