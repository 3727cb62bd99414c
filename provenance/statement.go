package provenance

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

const (
	// StatementType is the type of every [Statement].
	StatementType = "https://in-toto.io/Statement/v1"
	// PayloadType is the DSSE payload type of a statement.
	PayloadType = "application/vnd.in-toto+json"
)

// ErrStatement is wrapped by every error of this package.
var ErrStatement = errors.New("invalid in-toto statement")

// Statement says something, the predicate, about its subjects.
type Statement struct {
	Type          string          `json:"_type"` // [StatementType]
	Subject       []Subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"` // a JSON object
}

// Subject is a thing that a statement is about, named by its digests: lower-case
// hexadecimal by algorithm ("sha256"). It has the fields of in-toto's
// ResourceDescriptor.
type Subject struct {
	Name             string            `json:"name,omitempty"`
	URI              string            `json:"uri,omitempty"`
	Digest           map[string]string `json:"digest"`
	Content          []byte            `json:"content,omitempty"`
	DownloadLocation string            `json:"downloadLocation,omitempty"`
	MediaType        string            `json:"mediaType,omitempty"`
	Annotations      json.RawMessage   `json:"annotations,omitempty"`
}

// NewStatement makes a statement from anything that encodes to a JSON object.
// Its errors wrap [ErrStatement].
func NewStatement(subjects []Subject, predicateType string, predicate any) (*Statement, error) {
	encoded, err := encode(predicate)
	if err != nil {
		return nil, fmt.Errorf("%w: predicate: %v", ErrStatement, err)
	}
	s := &Statement{Type: StatementType, Subject: subjects, PredicateType: predicateType, Predicate: encoded}
	return s, s.validate()
}

// Marshal encodes the statement as compact JSON without a final newline: the
// same bytes each time. Its errors wrap [ErrStatement].
func (s *Statement) Marshal() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	b, err := encode(s)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrStatement, err)
	}
	// What we write must satisfy what we read, the predicate included.
	return b, checkJSON(b)
}

// ParseStatement reads a statement strictly: see the package's trust paragraph.
// Its errors wrap [ErrStatement].
func ParseStatement(b []byte) (*Statement, error) {
	if err := checkJSON(b); err != nil {
		return nil, err
	}
	var s Statement
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrStatement, err)
	}
	return &s, s.validate()
}

// HasDigest says whether a subject has the digest.
func (s *Statement) HasDigest(algorithm, hexDigest string) bool {
	for _, subject := range s.Subject {
		if d, ok := subject.Digest[algorithm]; ok && d == hexDigest {
			return true
		}
	}
	return false
}

// encode is json.Marshal without escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (s *Statement) validate() error {
	switch {
	case s.Type != StatementType:
		return fmt.Errorf("%w: type %.200q, want %s", ErrStatement, s.Type, StatementType)
	case len(s.Subject) == 0:
		return fmt.Errorf("%w: no subject", ErrStatement)
	case len(s.Subject) > limits.StatementSubjects:
		return fmt.Errorf("%w: %d subjects, at most %d", ErrStatement, len(s.Subject), limits.StatementSubjects)
	case s.PredicateType == "" || len(s.PredicateType) > limits.PredicateType || strings.ContainsFunc(s.PredicateType, notURI):
		return fmt.Errorf("%w: predicate type %.200q", ErrStatement, s.PredicateType)
	case len(s.Predicate) == 0 || s.Predicate[0] != '{':
		return fmt.Errorf("%w: predicate is no object", ErrStatement)
	}
	for i, subject := range s.Subject {
		if err := checkDigests(subject.Digest); err != nil {
			return fmt.Errorf("%w: subject %d: %v", ErrStatement, i, err)
		}
	}
	return nil
}

// digestSizes are the digests whose length we know, in bytes.
var digestSizes = map[string]int{
	"sha1": 20, "gitCommit": 20, "gitTag": 20, "gitTree": 20, "gitBlob": 20,
	"sha256": 32, "sha384": 48, "sha512": 64,
}

// KnownDigest says whether the digests of an algorithm are of a known length, so
// that [ParseStatement] checks them; private algorithms may have any text.
func KnownDigest(algorithm string) bool { return digestSizes[algorithm] > 0 }

func checkDigests(digests map[string]string) error {
	if len(digests) == 0 {
		return errors.New("no digest")
	}
	for algorithm, text := range digests {
		size, known := digestSizes[algorithm]
		if !known {
			continue // the specification allows private ones
		}
		raw, err := hex.DecodeString(text)
		if err != nil || len(raw) != size || strings.ToLower(text) != text {
			return fmt.Errorf("%s digest %.200q is not %d lower-case hexadecimal digits", algorithm, text, 2*size)
		}
	}
	return nil
}

func notURI(r rune) bool { return r <= ' ' || r > '~' }
