package tpm_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// maker makes the vectors.
type maker struct {
	t       *testing.T
	vectors map[string]vector
}

func (m maker) add(name, expect, comment string, e *tpm.Evidence, change func(*vector)) {
	m.t.Helper()
	text, err := e.Encode()
	if err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	v := vector{Comment: comment, Expect: expect, Time: evidenceTime, Evidence: string(text)}
	if change != nil {
		change(&v)
	}
	m.vectors[name] = v
}

func unbound(v *vector) { v.Unbound = true }

func enrolled(e ...tpm.Enrolment) func(*vector) { return func(v *vector) { v.Enrolments = e } }

func makeVectors(t *testing.T, ca *ekCA) map[string]vector {
	m := maker{t, map[string]vector{}}
	p, other := newProver(t, ca, 3), newProver(t, ca, 4)
	good := p.attest(keyTemplate(key.Artifact), []byte("fresh"))
	m.accepted(p, good)
	m.texts(good)
	m.certificates(p, other, good)
	m.attestationKeys(p, good)
	m.statements(p, other, good)
	m.keys(p)
	m.challenges(p, other, good)
	m.strangers(p, other, good)
	return m.vectors
}

func (m maker) accepted(p *prover, good *tpm.Evidence) {
	m.add("ok-unbound", "ok", "honest evidence, and a verifier who does not care in which TPM the key is", good, unbound)
	m.add("ok-enrolled", "ok", "honest evidence, and the enrolment of its attestation key", good, enrolled(p.enrolment()))
	m.add("ok-nonce", "ok", "made for the nonce that the verifier wanted", good, func(v *vector) {
		v.Nonce, v.Enrolments = hex.EncodeToString([]byte("fresh")), []tpm.Enrolment{p.enrolment()}
	})
	counted := own
	counted.NoDA = false
	label := key.SSH.Label()
	m.add("ok-counted", "ok", "a key of usage ssh whose wrong PINs the TPM counts", p.attest(eccArea(counted, tpm2.TPMTECCScheme{}, label[:]), nil), enrolled(p.enrolment()))
	m.add("ok-no-label", "ok", "a key that other software made: it has no usage label", p.attest(eccArea(own, ecdsaSHA256, nil), nil), enrolled(p.enrolment()))
}

// texts are about the encoding.
func (m maker) texts(good *tpm.Evidence) {
	for _, c := range []struct{ name, comment, old, new string }{
		{"truncated", "the end is missing", "\n}\n", ""},
		{"unknown-member", "a member that the format does not have", `"kind":`, `"king": "", "kind":`},
		{"repeated-member", "a member twice", `"kind":`, `"kind": "tpm2", "kind":`},
		{"other-order", "members in another order", "\"format\": \"sealsmith evidence v1\",\n  \"kind\": \"tpm2\",", "\"kind\": \"tpm2\",\n  \"format\": \"sealsmith evidence v1\","},
		{"spelling", "a member with a capital letter", `"kind":`, `"Kind":`},
		{"null", "null instead of no octets", `"nonce": "ZnJlc2g="`, `"nonce": null`},
		{"base64", "base64 whose last bits mean nothing", `"nonce": "ZnJlc2g="`, `"nonce": "ZnJlc2h="`},
		{"escape", "text with an escape that it does not need", `"nonce": "Zn`, `"nonce": "\u005an`},
		{"behind", "something follows the object", "\n}\n", "\n}\n{}\n"},
		{"version", "a version that does not exist", "evidence v1", "evidence v2"},
		{"kind", "a kind that does not exist", `"kind": "tpm2"`, `"kind": "tpm3"`},
	} {
		m.add("malformed-"+c.name, "malformed", c.comment, good, func(v *vector) {
			unbound(v)
			changed := strings.Replace(v.Evidence, c.old, c.new, 1)
			if changed == v.Evidence {
				m.t.Errorf("%s changes nothing", c.name)
			}
			v.Evidence = changed
		})
	}
	for name, change := range map[string]func(*tpm.Evidence){
		"two-certificates": func(e *tpm.Evidence) {
			e.EKCertificate = append(bytes.Clone(e.EKCertificate), e.EKIntermediates[0]...)
		},
		"key-tail":       func(e *tpm.Evidence) { e.KeyPublic = append(bytes.Clone(e.KeyPublic), 0) },
		"key-cut":        func(e *tpm.Evidence) { e.KeyPublic = e.KeyPublic[:len(e.KeyPublic)-1] },
		"certify-tail":   func(e *tpm.Evidence) { e.Certify = append(bytes.Clone(e.Certify), 0) },
		"signature-tail": func(e *tpm.Evidence) { e.Signature = append(bytes.Clone(e.Signature), 0) },
	} {
		e := *good
		change(&e)
		m.add("malformed-"+name, "malformed", "octets too many or too few in a structure", &e, unbound)
	}
}

func (m maker) certificates(p, other *prover, good *tpm.Evidence) {
	alone := *good
	alone.EKIntermediates = nil
	m.add("ek-untrusted-issuer", "ek-untrusted", "the CA that issued the EK certificate is not there", &alone, enrolled(p.enrolment()))
	m.add("ek-untrusted-expired", "ek-untrusted", "two years later the EK certificate has expired", good, func(v *vector) {
		v.Enrolments, v.Time = []tpm.Enrolment{p.enrolment()}, v.Time.AddDate(2, 0, 0)
	})
	stranger := *good
	stranger.EKCertificate = newEKCA(m.t).certify(3, &softwareKey(m.t).PublicKey)
	m.add("ek-untrusted-root", "ek-untrusted", "an EK certificate of somebody's own CA, of the same names", &stranger, unbound)

	wrong := *good
	wrong.EKCertificate = other.ekCertificate
	m.add("wrong-ek", "ek-public-mismatch", "the EK certificate of another TPM", &wrong, enrolled(p.enrolment(), other.enrolment()))
	storage := *good
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](good.EKPublic)
	if err != nil {
		m.t.Fatal(err)
	}
	public.ObjectAttributes.FixedTPM, public.ObjectAttributes.FixedParent = false, false
	storage.EKPublic = tpm2.Marshal(public)
	m.add("ek-template", "ek-public-mismatch", "the EK's public key with the attributes of a key that may leave the TPM", &storage, enrolled(p.enrolment()))
}

func (m maker) attestationKeys(p *prover, good *tpm.Evidence) {
	p.flush(p.ak)
	by := func(name, expect, comment string, area tpm2.TPMTPublic) {
		k := p.primary(tpm2.TPMRHOwner, keyTemplate(key.Artifact))
		ak := p.primary(tpm2.TPMRHOwner, area)
		defer p.flush(k)
		defer p.flush(ak)
		m.add(name, expect, comment, p.certify(k, ak, nil), unbound)
	}
	by("ak-not-restricted", "ak-not-restricted", "a key that signs any digest vouches for another", eccArea(own, ecdsaSHA256, nil))
	movable := akTemplate()
	movable.ObjectAttributes.FixedTPM, movable.ObjectAttributes.FixedParent = false, false
	by("ak-duplicable", "ak-unfit", "an attestation key that may leave its TPM", movable)
	longer := akTemplate()
	longer.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP384, Scheme: ecdsaSHA256})
	by("ak-curve", "ak-unfit", "an attestation key on P-384", longer)
	p.ak = p.primary(tpm2.TPMRHOwner, akTemplate())

	decrypts := *good
	decrypts.AKPublic = good.EKPublic
	m.add("ak-decrypts", "ak-unfit", "the EK itself as attestation key", &decrypts, enrolled(p.enrolment()))
}

func (m maker) statements(p, other *prover, good *tpm.Evidence) {
	swapped := *good
	swapped.Signature = other.attest(keyTemplate(key.Artifact), nil).Signature
	m.add("other-signature", "bad-signature", "a signature over something else, by somebody else", &swapped, enrolled(p.enrolment()))
	padded := *good
	signature, err := tpm2.Unmarshal[tpm2.TPMTSignature](good.Signature)
	if err != nil {
		m.t.Fatal(err)
	}
	s, err := signature.Signature.ECDSA()
	if err != nil {
		m.t.Fatal(err)
	}
	s.SignatureR.Buffer = append([]byte{0}, s.SignatureR.Buffer...)
	padded.Signature = tpm2.Marshal(signature)
	m.add("padded-signature", "bad-signature", "the signature with a zero octet too many", &padded, enrolled(p.enrolment()))
	foreign := *good
	foreign.AKPublic = other.ak.area
	m.add("other-ak", "bad-signature", "the attestation key of another TPM", &foreign, enrolled(p.enrolment(), other.enrolment()))
	m.add("quote", "not-a-certify", "a statement of the TPM about its PCRs", p.quoted(good), enrolled(p.enrolment()))
	m.add("creation", "not-a-certify", "a statement of the TPM that it made the key, by TPM2_CertifyCreation", p.creation(nil), enrolled(p.enrolment()))
	m.add("made-up", "not-a-certify", "a statement that the TPM did not make, signed by TPM2_Sign with the real attestation key, about a key in software", p.madeUp(good), enrolled(p.enrolment()))

	m.add("stale-nonce", "nonce-mismatch", "made for another nonce than the verifier wants", good, func(v *vector) {
		v.Nonce, v.Enrolments = hex.EncodeToString([]byte("wanted")), []tpm.Enrolment{p.enrolment()}
	})
	renamed := *good
	renamed.Nonce = []byte("wanted")
	m.add("renamed-nonce", "nonce-mismatch", "names the wanted nonce beside a statement made for another", &renamed, func(v *vector) {
		v.Nonce, v.Enrolments = hex.EncodeToString([]byte("wanted")), []tpm.Enrolment{p.enrolment()}
	})
	public := *good
	public.KeyPublic = p.attest(keyTemplate(key.SSH), nil).KeyPublic
	m.add("swapped-public", "key-not-certified", "the public area of another key of the same TPM", &public, enrolled(p.enrolment()))
}

func (m maker) keys(p *prover) {
	m.add("imported", "imported", "a key that was made in software and imported", p.imported(softwareKey(m.t)), enrolled(p.enrolment()))
	movable := keyTemplate(key.Artifact)
	movable.ObjectAttributes.FixedTPM, movable.ObjectAttributes.FixedParent = false, false
	m.add("duplicable", "duplicable", "a key that was made in the TPM and may leave it", p.attest(movable, nil), enrolled(p.enrolment()))
	m.add("storage-key", "key-unfit", "a storage key: it signs nothing", p.attest(tpm.StorageTemplate(), nil), enrolled(p.enrolment()))
	m.add("restricted-key", "key-unfit", "a key that signs only what the TPM states", p.attest(akTemplate(), nil), enrolled(p.enrolment()))
}

// challenges are about the binding by the verifier's own challenge.
func (m maker) challenges(p, other *prover, good *tpm.Evidence) {
	challenge, pending := newChallenge(m.t, good)
	answer := p.answer(challenge)
	with := func(pending *tpm.Pending, answer *tpm.Answer, later time.Duration) func(*vector) {
		return func(v *vector) {
			v.Pending, v.Answer = encoded(m.t, pending), encoded(m.t, answer)
			v.Time = v.Time.Add(later)
		}
	}
	m.add("ok-challenged", "ok", "the TPM answered the verifier's challenge", good, with(pending, answer, time.Hour))
	m.add("challenge-late", "challenge-expired", "the answer came after more than a day", good, with(pending, answer, limits.ChallengeAge+time.Second))
	m.add("challenge-early", "challenge-expired", "the challenge is from the future", good, with(pending, answer, -time.Second))
	m.add("wrong-answer", "wrong-answer", "made-up octets as answer", good, with(pending, &tpm.Answer{AKName: answer.AKName, Secret: make([]byte, 32)}, 0))
	_, again := newChallenge(m.t, good)
	m.add("old-answer", "wrong-answer", "the answer to an earlier challenge", good, with(again, answer, 0))
	theirs, theirPending := newChallenge(m.t, other.attest(keyTemplate(key.Artifact), nil))
	m.add("challenge-other-tpm", "challenge-mismatch", "another TPM answered its own challenge", good, with(theirPending, other.answer(theirs), 0))
	mixed := *pending
	mixed.AKName = theirPending.AKName
	m.add("challenge-other-ak", "challenge-mismatch", "the challenge was for another attestation key", good, with(&mixed, &tpm.Answer{AKName: mixed.AKName, Secret: answer.Secret}, 0))
	m.add("answer-other-ak", "challenge-mismatch", "the answer names another attestation key", good, with(pending, &tpm.Answer{AKName: theirPending.AKName, Secret: answer.Secret}, 0))
}

// strangers have somebody's EK certificate, which is public, and no TPM.
func (m maker) strangers(p, other *prover, good *tpm.Evidence) {
	m.add("unbound", "ak-not-bound", "honest evidence, and nothing that says in which TPM the attestation key is", good, nil)
	forgery := forged{softwareKey(m.t)}.attest(m.t, good)
	m.add("forged", "ak-not-bound", "a real EK certificate, attestation key and key in software: all is consistent", forgery, nil)
	m.add("forged-enrolled", "enrolment-mismatch", "the same, beside the enrolment of the TPM's real attestation key", forgery, enrolled(p.enrolment()))
	m.add("forged-unbound", "ok", "the same, and a verifier who asked for no binding", forgery, unbound)
	_, pending := newChallenge(m.t, forgery)
	m.add("forged-answer", "wrong-answer", "the same; without the TPM the answer to a challenge can only be guessed", forgery, func(v *vector) {
		v.Pending, v.Answer = encoded(m.t, pending), encoded(m.t, &tpm.Answer{AKName: pending.AKName, Secret: make([]byte, 32)})
	})
	split := other.enrolment()
	split.AKName = p.enrolment().AKName
	m.add("enrolment-other-ek", "enrolment-mismatch", "the attestation key was enrolled with another EK certificate", good, enrolled(split, other.enrolment()))
}

func newChallenge(t *testing.T, e *tpm.Evidence) (*tpm.Challenge, *tpm.Pending) {
	t.Helper()
	c, p, err := tpm.NewChallenge(e, evidenceTime)
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

func encoded(t *testing.T, document interface{ Encode() ([]byte, error) }) string {
	t.Helper()
	text, err := document.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
