package tpm_test

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/tpm"
)

var update = flag.Bool("update", false, "make the test vectors of evidence anew; with -run 'TestEvidence$'")

const (
	vectorFolder = "testdata/evidence"
	rootsFile    = vectorFolder + "/roots.pem"
)

// vector is a file of testdata/evidence; docs/spec/evidence.md describes it.
type vector struct {
	Comment    string          `json:"comment"`
	Expect     string          `json:"expect"` // "ok" or a reason
	Time       time.Time       `json:"time"`
	Nonce      string          `json:"nonce,omitempty"` // wanted, hexadecimal
	Pending    string          `json:"pending,omitempty"`
	Answer     string          `json:"answer,omitempty"`
	Enrolments []tpm.Enrolment `json:"enrolments,omitempty"`
	Unbound    bool            `json:"unbound,omitempty"`
	Evidence   string          `json:"evidence"`
}

// verifyEK is what the CA bundle says.
type verifyEK func(leaf *x509.Certificate, intermediates []*x509.Certificate, at time.Time) error

func trusting(t testing.TB, roots []byte) verifyEK {
	t.Helper()
	anchors, err := bundle.ParseAnchors(roots)
	if err != nil {
		t.Fatal(err)
	}
	return func(leaf *x509.Certificate, intermediates []*x509.Certificate, at time.Time) error {
		_, err := anchors.VerifyEK(leaf, intermediates, at)
		return err
	}
}

// verify decides a vector.
func (v vector) verify(t testing.TB, ek verifyEK) (*tpm.Verified, error) {
	t.Helper()
	o := tpm.VerifyOptions{At: v.Time, VerifyEK: ek, Binding: tpm.Binding{Enrolments: v.Enrolments, UnboundUnsafe: v.Unbound}}
	var err error
	if v.Nonce != "" {
		if o.Nonce, err = hex.DecodeString(v.Nonce); err != nil {
			t.Fatal(err)
		}
	}
	e, err := tpm.ParseEvidence([]byte(v.Evidence))
	if err != nil {
		return nil, err
	}
	if v.Pending != "" {
		if o.Binding.Pending, err = tpm.ParsePending([]byte(v.Pending)); err != nil {
			return nil, err
		}
		if o.Binding.Answer, err = tpm.ParseAnswer([]byte(v.Answer)); err != nil {
			return nil, err
		}
	}
	return tpm.VerifyAttestation(e, o)
}

// outcome is "ok" or the reason of a refusal.
func outcome(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return "ok"
	}
	var refusal *tpm.Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, tpm.ErrRefused) {
		t.Errorf("not a refusal: %v", err)
		return ""
	}
	return string(refusal.Reason)
}

// TestEvidence makes evidence of each kind on software TPMs and verifies it. With
// -update it becomes the test vectors.
func TestEvidence(t *testing.T) {
	t.Parallel()
	ca := newEKCA(t)
	vectors, ek := makeVectors(t, ca), trusting(t, ca.roots())
	for name, v := range vectors {
		_, err := v.verify(t, ek)
		if got := outcome(t, err); got != v.Expect {
			t.Errorf("%s: %s, want %s: %v", name, got, v.Expect, err)
		}
	}
	if *update {
		writeVectors(t, vectors, ca.roots())
	}
	// What stands in the files is what is tested here.
	for name := range readVectors(t) {
		if _, made := vectors[name]; !made {
			t.Errorf("%s: no test makes this vector", name)
		}
	}
}

// TestEvidenceVectors verifies the recorded evidence.
func TestEvidenceVectors(t *testing.T) {
	t.Parallel()
	ek := readRoots(t)
	seen := map[string]bool{}
	for name, v := range readVectors(t) {
		verified, err := v.verify(t, ek)
		if got := outcome(t, err); got != v.Expect {
			t.Errorf("%s: %s, want %s: %v", name, got, v.Expect, err)
		}
		if (verified == nil) != (err != nil) {
			t.Errorf("%s: a result and an error", name)
		}
		seen[v.Expect] = true
	}
	for _, reason := range append(reasons, "ok") {
		if !seen[string(reason)] {
			t.Errorf("no vector is refused as %s", reason)
		}
	}
}

var reasons = []tpm.Reason{
	tpm.Malformed, tpm.EKUntrusted, tpm.EKPublicMismatch, tpm.AKNotRestricted, tpm.AKUnfit, tpm.BadSignature,
	tpm.NotACertify, tpm.NonceMismatch, tpm.KeyNotCertified, tpm.Imported, tpm.Duplicable, tpm.KeyUnfit,
	tpm.AKNotBound, tpm.ChallengeMismatch, tpm.ChallengeExpired, tpm.WrongAnswer, tpm.EnrolmentMismatch,
}

func readRoots(t testing.TB) verifyEK {
	t.Helper()
	roots, err := os.ReadFile(rootsFile)
	if err != nil {
		t.Fatal(err)
	}
	return trusting(t, roots)
}

func readVectors(t testing.TB) map[string]vector {
	t.Helper()
	vectors := map[string]vector{}
	for _, path := range testenv.Glob(t, vectorFolder+"/*.json") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var v vector
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		vectors[strings.TrimSuffix(filepath.Base(path), ".json")] = v
	}
	return vectors
}

func writeVectors(t *testing.T, vectors map[string]vector, roots []byte) {
	t.Helper()
	if err := os.RemoveAll(vectorFolder); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(vectorFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{rootsFile: roots}
	for name, v := range vectors {
		data, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(vectorFolder, name+".json")] = append(data, '\n')
	}
	for path, data := range files {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSpecificationHasReasons compares the reasons with the table for people.
func TestSpecificationHasReasons(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(testenv.Root(), "docs", "spec", "evidence.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range reasons {
		if !bytes.Contains(page, []byte("\n| `"+reason+"` |")) {
			t.Errorf("docs/spec/evidence.md has no row for %s", reason)
		}
	}
}
