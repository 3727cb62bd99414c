package tpm_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// parts are the octets of evidence, by name.
func parts(e *tpm.Evidence) map[string]*[]byte {
	all := map[string]*[]byte{
		"nonce": &e.Nonce, "EK certificate": &e.EKCertificate, "intermediate": &e.EKIntermediates[0], "EK public": &e.EKPublic,
		"AK public": &e.AKPublic, "key public": &e.KeyPublic, "certify": &e.Certify, "signature": &e.Signature,
	}
	if len(e.EKIntermediates) > 1 {
		panic("an intermediate that no test changes")
	}
	return all
}

// remembering looks at the same certificates once.
func remembering(ek verifyEK) verifyEK {
	known := map[string]error{}
	return func(leaf *x509.Certificate, intermediates []*x509.Certificate, at time.Time) error {
		all := string(leaf.Raw)
		for _, c := range intermediates {
			all += string(c.Raw)
		}
		err, seen := known[all]
		if !seen {
			err = ek(leaf, intermediates, at)
			known[all] = err
		}
		return err
	}
}

// TestEvidenceBitFlips changes each bit of good evidence: none may be one that
// does not matter.
func TestEvidenceBitFlips(t *testing.T) {
	for name, want := range map[string]tpm.Reason{
		"nonce": tpm.NonceMismatch, "EK certificate": tpm.EKUntrusted, "intermediate": tpm.EKUntrusted, "EK public": tpm.EKPublicMismatch,
		"AK public": tpm.AKNotRestricted, "key public": tpm.KeyNotCertified, "certify": tpm.BadSignature, "signature": tpm.BadSignature,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, ek := readVectors(t)["ok-nonce"], remembering(readRoots(t))
			e, err := tpm.ParseEvidence([]byte(v.Evidence))
			if err != nil {
				t.Fatal(err)
			}
			part, found := parts(e)[name], false
			if len(*part) == 0 {
				t.Error("it is empty: nothing is tested")
			}
			for i := range *part {
				for bit := range 8 {
					(*part)[i] ^= 1 << bit
					changed := v
					changed.Evidence = encoded(t, e)
					_, err := changed.verify(t, ek)
					if err == nil {
						t.Errorf("accepted with bit %d of octet %d changed", bit, i)
					} else if outcome(t, err) == string(want) {
						found = true
					}
					(*part)[i] ^= 1 << bit
				}
			}
			if !found {
				t.Errorf("never refused as %s", want)
			}
		})
	}
}

// TestEvidenceCut shortens good evidence at each octet of its text.
func TestEvidenceCut(t *testing.T) {
	t.Parallel()
	text := strings.TrimSuffix(readVectors(t)["ok-nonce"].Evidence, "\n")
	for n := range text {
		if _, err := tpm.ParseEvidence([]byte(text[:n])); outcome(t, err) != string(tpm.Malformed) {
			t.Fatalf("%d octets: %v", n, err)
		}
	}
}

// TestTPMCertifiesNoPublicArea: an area that is loaded without its private key may
// claim anything, so the TPM must not vouch for it.
func TestTPMCertifiesNoPublicArea(t *testing.T) {
	t.Parallel()
	p := newProver(t, newEKCA(t), 3)
	// PolicyCommandCode(TPM2_Certify), which anybody can satisfy.
	policy := sha256.Sum256(append(make([]byte, sha256.Size), 0, 0, 1, 0x6c, 0, 0, 1, 0x48))
	for _, byPolicy := range []bool{false, true} {
		attributes := own
		attributes.AdminWithPolicy = byPolicy
		area := softwareArea(eccArea(attributes, tpm2.TPMTECCScheme{}, policy[:]), softwareKey(t))
		rsp, err := tpm2.LoadExternal{InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](area), Hierarchy: tpm2.TPMRHOwner}.Execute(p.tpm)
		if err != nil {
			t.Fatal(err)
		}
		k := loaded{rsp.ObjectHandle, area, rsp.Name}
		auth := k.auth()
		if byPolicy {
			s, done, err := tpm2.PolicySession(p.tpm, tpm2.TPMAlgSHA256, 16)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			if _, err := (tpm2.PolicyCommandCode{PolicySession: s.Handle(), Code: tpm2.TPMCCCertify}).Execute(p.tpm); err != nil {
				t.Fatal(err)
			}
			auth.Auth = s
		}
		_, err = tpm2.Certify{ObjectHandle: auth, SignHandle: p.ak.auth(), InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}}.Execute(p.tpm)
		if !errors.Is(err, tpm2.TPMRCAuthUnavailable) {
			t.Errorf("by policy %v: %v", byPolicy, err)
		}
		p.flush(k)
	}
}

func TestEvidenceLimits(t *testing.T) {
	e, err := tpm.ParseEvidence([]byte(readVectors(t)["ok-nonce"].Evidence))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tpm.Evidence){
		"long nonce":         func(e *tpm.Evidence) { e.Nonce = make([]byte, limits.EvidenceNonce+1) },
		"many intermediates": func(e *tpm.Evidence) { e.EKIntermediates = make([][]byte, limits.EvidenceIntermediates+1) },
		"empty intermediate": func(e *tpm.Evidence) { e.EKIntermediates = [][]byte{{}} },
		"long certificate":   func(e *tpm.Evidence) { e.EKCertificate = make([]byte, limits.Evidence) },
		"no certificate":     func(e *tpm.Evidence) { e.EKCertificate = nil },
		"no EK":              func(e *tpm.Evidence) { e.EKPublic = nil },
		"no attestation key": func(e *tpm.Evidence) { e.AKPublic = nil },
		"no key":             func(e *tpm.Evidence) { e.KeyPublic = nil },
		"no statement":       func(e *tpm.Evidence) { e.Certify = nil },
		"no signature":       func(e *tpm.Evidence) { e.Signature = nil },
	} {
		bad := *e
		change(&bad)
		if _, err := bad.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
		if name == "long certificate" {
			continue // Encode says so, VerifyAttestation does not mind
		}
		if _, err := tpm.VerifyAttestation(&bad, unboundOptions(nil)); outcome(t, err) != string(tpm.Malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	spaces := bytes.Repeat([]byte(" "), limits.Evidence)
	if _, err := tpm.ParseEvidence(append(spaces, []byte(readVectors(t)["ok-nonce"].Evidence)...)); outcome(t, err) != string(tpm.Malformed) {
		t.Error("evidence longer than the limit was read")
	}
}

// unboundOptions trust every EK certificate that err does not refuse.
func unboundOptions(err error) tpm.VerifyOptions {
	return tpm.VerifyOptions{
		At: evidenceTime, Binding: tpm.Binding{UnboundUnsafe: true},
		VerifyEK: func(*x509.Certificate, []*x509.Certificate, time.Time) error { return err },
	}
}

func TestVerifyOptionsAreComplete(t *testing.T) {
	e, err := tpm.ParseEvidence([]byte(readVectors(t)["ok-nonce"].Evidence))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tpm.VerifyOptions){
		"empty":                 func(o *tpm.VerifyOptions) { *o = tpm.VerifyOptions{} },
		"no trust":              func(o *tpm.VerifyOptions) { o.VerifyEK = nil },
		"no time":               func(o *tpm.VerifyOptions) { o.At = time.Time{} },
		"long nonce":            func(o *tpm.VerifyOptions) { o.Nonce = make([]byte, 33) },
		"challenge alone":       func(o *tpm.VerifyOptions) { o.Binding = tpm.Binding{Pending: &tpm.Pending{}} },
		"answer alone":          func(o *tpm.VerifyOptions) { o.Binding = tpm.Binding{Answer: &tpm.Answer{}} },
		"enrolment and unbound": func(o *tpm.VerifyOptions) { o.Binding.Enrolments = []tpm.Enrolment{{}} },
		"challenge and unbound": func(o *tpm.VerifyOptions) { o.Binding.Pending, o.Binding.Answer = &tpm.Pending{}, &tpm.Answer{} },
		"challenge and enrolment": func(o *tpm.VerifyOptions) {
			o.Binding = tpm.Binding{Pending: &tpm.Pending{}, Answer: &tpm.Answer{}, Enrolments: []tpm.Enrolment{{}}}
		},
	} {
		o := unboundOptions(nil)
		change(&o)
		if v, err := tpm.VerifyAttestation(e, o); !errors.Is(err, key.ErrUsage) || errors.Is(err, tpm.ErrRefused) || v != nil {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
	refusal := errors.New("not on my list")
	if _, err := tpm.VerifyAttestation(e, unboundOptions(refusal)); !errors.Is(err, refusal) || outcome(t, err) != string(tpm.EKUntrusted) {
		t.Errorf("the reason of VerifyEK is lost: %v", err)
	}
}

func TestVerified(t *testing.T) {
	vectors, ek := readVectors(t), readRoots(t)
	for name, want := range map[string]tpm.Verified{
		"ok-challenged": {Usage: key.Artifact, Uncounted: true, BoundBy: tpm.ByChallenge},
		"ok-enrolled":   {Usage: key.Artifact, Uncounted: true, BoundBy: tpm.ByEnrolment},
		"ok-counted":    {Usage: key.SSH, Uncounted: false, BoundBy: tpm.ByEnrolment},
		"ok-no-label":   {Usage: "", Uncounted: true, BoundBy: tpm.ByEnrolment},
		"ok-unbound":    {Usage: key.Artifact, Uncounted: true},
		"ok-nonce":      {Usage: key.Artifact, Uncounted: true, BoundBy: tpm.ByEnrolment},
	} {
		v, err := vectors[name].verify(t, ek)
		if err != nil {
			t.Fatal(err)
		}
		if v.Usage != want.Usage || v.Uncounted != want.Uncounted || v.BoundBy != want.BoundBy || v.Algorithm != key.P256 {
			t.Errorf("%s: %+v", name, v)
		}
		if id, err := key.NewID(v.Key); err != nil || id != v.ID || len(v.Name) != 34 || len(v.AKName) != 34 {
			t.Errorf("%s: ID %s, %v", name, v.ID, err)
		}
		if _, isEC := v.Key.(*ecdsa.PublicKey); !isEC || v.EKCertificate == nil {
			t.Errorf("%s: key %T", name, v.Key)
		}
		// What was not checked is never among the checks.
		checks, left := strings.Join(v.Checks, "\n"), strings.Join(v.NotChecked, "\n")
		for text, checked := range map[string]bool{
			"is in the TPM of the EK certificate": v.BoundBy != "",
			"for the nonce":                       name == "ok-nonce",
			"usage label is":                      v.Usage != "",
		} {
			if strings.Contains(checks, text) != checked {
				t.Errorf("%s: %q in the checks, want %v:\n%s", name, text, checked, checks)
			}
		}
		for text, leftOut := range map[string]bool{
			"in which TPM":              v.BoundBy == "",
			"when that was":             name != "ok-nonce",
			"no usage label":            v.Usage == "",
			"whether the key has a PIN": true,
		} {
			if strings.Contains(left, text) != leftOut {
				t.Errorf("%s: %q among what was not checked, want %v:\n%s", name, text, leftOut, left)
			}
		}
	}
}

// TestNewChallengeRefuses encrypts to no key but an EK.
func TestNewChallengeRefuses(t *testing.T) {
	vectors := readVectors(t)
	for name, want := range map[string]tpm.Reason{
		"wrong-ek": tpm.EKPublicMismatch, "ek-template": tpm.EKPublicMismatch,
		"ak-not-restricted": tpm.AKNotRestricted, "ak-curve": tpm.AKUnfit, "malformed-key-tail": tpm.Malformed,
	} {
		e, err := tpm.ParseEvidence([]byte(vectors[name].Evidence))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tpm.NewChallenge(e, evidenceTime); outcome(t, err) != string(want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestChallengeDocuments(t *testing.T) {
	e, err := tpm.ParseEvidence([]byte(readVectors(t)["ok-nonce"].Evidence))
	if err != nil {
		t.Fatal(err)
	}
	challenge, pending := newChallenge(t, e)
	answer := &tpm.Answer{AKName: challenge.AKName, Secret: []byte("secret")}
	for name, c := range map[string]struct {
		document interface{ Encode() ([]byte, error) }
		parse    func([]byte) (any, error)
	}{
		"challenge": {challenge, func(b []byte) (any, error) { return tpm.ParseChallenge(b) }},
		"answer":    {answer, func(b []byte) (any, error) { return tpm.ParseAnswer(b) }},
		"pending":   {pending, func(b []byte) (any, error) { return tpm.ParsePending(b) }},
	} {
		text := encoded(t, c.document)
		if again, err := c.parse([]byte(text)); err != nil || !reflect.DeepEqual(again, c.document) {
			t.Errorf("%s came back as %+v, %v", name, again, err)
		}
		var members map[string]any
		if err := json.Unmarshal([]byte(text), &members); err != nil {
			t.Fatal(err)
		}
		for member, value := range members {
			good := `"` + member + `": "` + value.(string) + `"`
			for what, bad := range map[string]string{
				"empty": `"` + member + `": ""`, "null": `"` + member + `": null`, "number": `"` + member + `": 7`,
				"twice": good + ", " + good, "capital": strings.ToUpper(good[:2]) + good[2:], "other": `"` + member + `": "x"`,
			} {
				changed := strings.Replace(text, good, bad, 1)
				if changed == text {
					t.Fatalf("%s: %s is not in %s", name, good, text)
				}
				if _, err := c.parse([]byte(changed)); outcome(t, err) != string(tpm.Malformed) {
					t.Errorf("%s, %s %s: %v", name, member, what, err)
				}
			}
		}
		for what, bad := range map[string]string{
			"cut": text[:len(text)-3], "behind": text + "{}", "long": strings.Repeat(" ", limits.Challenge) + text, "empty": "",
			"unknown member": strings.Replace(text, "{", `{"x": "",`, 1),
		} {
			if _, err := c.parse([]byte(bad)); outcome(t, err) != string(tpm.Malformed) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	if bytes.Contains([]byte(encoded(t, pending)), challenge.Secret) || pending.SecretSHA256 == hex.EncodeToString(challenge.Secret) {
		t.Error("the pending challenge holds the secret")
	}
	empty := []interface{ Encode() ([]byte, error) }{&tpm.Challenge{}, &tpm.Answer{}, &tpm.Pending{}}
	for _, document := range empty {
		if _, err := document.Encode(); err == nil {
			t.Errorf("%T: encoded though empty", document)
		}
	}
}
