package tpm_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// What the owner of a real TPM can try with it, and without breaking it.

// signText has the attestation key sign a text that the TPM itself hashed: even a
// restricted key does that.
func (p *prover) signText(text []byte) ([]byte, error) {
	p.t.Helper()
	hashed, err := tpm2.Hash{
		Data: tpm2.TPM2BMaxBuffer{Buffer: text}, HashAlg: tpm2.TPMAlgSHA256, Hierarchy: tpm2.TPMRHOwner,
	}.Execute(p.tpm)
	if err != nil {
		p.t.Fatal(err)
	}
	rsp, err := tpm2.Sign{
		KeyHandle: p.ak.auth(), Digest: hashed.OutHash, Validation: hashed.Validation,
		InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull},
	}.Execute(p.tpm)
	if err != nil {
		return nil, err
	}
	return tpm2.Marshal(rsp.Signature), nil
}

// madeUp is evidence about a software key, with a statement that the attestation key
// signed but did not make: only its first octets tell.
func (p *prover) madeUp(e *tpm.Evidence) *tpm.Evidence {
	p.t.Helper()
	area := softwareArea(keyTemplate(key.Artifact), softwareKey(p.t))
	statement, err := tpm2.Unmarshal[tpm2.TPMSAttest](e.Certify)
	if err != nil {
		p.t.Fatal(err)
	}
	name := areaName(p.t, area)
	statement.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{Name: name, QualifiedName: name})
	if _, err := p.signText(tpm2.Marshal(statement)); !errors.Is(err, tpm2.TPMRCTicket) {
		p.t.Errorf("a restricted key signed what looks like its TPM's statement: %v", err)
	}
	statement.Magic = 0
	made := *e
	made.KeyPublic, made.Certify = area, tpm2.Marshal(statement)
	if made.Signature, err = p.signText(made.Certify); err != nil {
		p.t.Fatal(err)
	}
	return &made
}

// creation is the attestation key's statement that a key was made: it names the key,
// too, but is none of TPM2_Certify.
func (p *prover) creation(nonce []byte) *tpm.Evidence {
	p.t.Helper()
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}, InPublic: tpm2.New2B(keyTemplate(key.Artifact)),
	}.Execute(p.tpm)
	if err != nil {
		p.t.Fatal(err)
	}
	k := loaded{rsp.ObjectHandle, rsp.OutPublic.Bytes(), rsp.Name}
	defer p.flush(k)
	said, err := tpm2.CertifyCreation{
		SignHandle: p.ak.auth(), ObjectHandle: tpm2.NamedHandle{Handle: k.handle, Name: k.name}, QualifyingData: tpm2.TPM2BData{Buffer: nonce},
		CreationHash: rsp.CreationHash, InScheme: tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgNull}, CreationTicket: rsp.CreationTicket,
	}.Execute(p.tpm)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.evidence(k, p.ak, nonce, said.CertifyInfo.Bytes(), tpm2.Marshal(said.Signature))
}

// TestTPMActivatesNoPublicArea: an attestation key in software, whose public area
// claims that it is in the TPM and is loaded there, must not be answered for. If it
// were, a challenge would show nothing.
func TestTPMActivatesNoPublicArea(t *testing.T) {
	t.Parallel()
	p := newProver(t, newEKCA(t), 3)
	good := p.attest(keyTemplate(key.Artifact), nil)
	// PolicyCommandCode(TPM2_ActivateCredential), which anybody can satisfy.
	policy := sha256.Sum256(append(make([]byte, sha256.Size), 0, 0, 1, 0x6c, 0, 0, 1, 0x47))
	for _, byPolicy := range []bool{false, true} {
		k, template := softwareKey(t), akTemplate()
		template.AuthPolicy.Buffer = policy[:]
		template.ObjectAttributes.AdminWithPolicy = byPolicy
		forgery := forged{k}.attest(t, good)
		forgery.AKPublic = softwareArea(template, k)
		challenge, _ := newChallenge(t, forgery)

		rsp, err := tpm2.LoadExternal{InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](forgery.AKPublic), Hierarchy: tpm2.TPMRHOwner}.Execute(p.tpm)
		if err != nil {
			t.Fatal(err)
		}
		ak := loaded{rsp.ObjectHandle, forgery.AKPublic, rsp.Name}
		admin := ak.auth()
		if byPolicy {
			s, done, err := tpm2.PolicySession(p.tpm, tpm2.TPMAlgSHA256, 16)
			if err != nil {
				t.Fatal(err)
			}
			defer done()
			if _, err := (tpm2.PolicyCommandCode{PolicySession: s.Handle(), Code: tpm2.TPMCCActivateCredential}).Execute(p.tpm); err != nil {
				t.Fatal(err)
			}
			admin.Auth = s
		}
		if answer, err := p.activate(admin, challenge); !errors.Is(err, tpm2.TPMRCAuthUnavailable) {
			t.Errorf("by policy %v: %x, %v", byPolicy, answer, err)
		}
		p.flush(ak)
	}
}

// TestTPMTakesNoPrivateAttestationKey: nor may it be loaded with its private part.
func TestTPMTakesNoPrivateAttestationKey(t *testing.T) {
	t.Parallel()
	p, k := newProver(t, newEKCA(t), 3), softwareKey(t)
	scalar, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	private := tpm2.TPMTSensitive{SensitiveType: tpm2.TPMAlgECC, Sensitive: tpm2.NewTPMUSensitiveComposite(tpm2.TPMAlgECC, &tpm2.TPM2BECCParameter{Buffer: scalar})}
	load := func(area tpm2.TPMTPublic) error {
		rsp, err := tpm2.LoadExternal{
			InPrivate: tpm2.New2B(private), InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](softwareArea(area, k)), Hierarchy: tpm2.TPMRHNull,
		}.Execute(p.tpm)
		if err == nil {
			p.flush(loaded{handle: rsp.ObjectHandle})
		}
		return err
	}
	if err := load(akTemplate()); !errors.Is(err, tpm2.TPMRCAttributes) {
		t.Errorf("an attestation key: %v", err)
	}
	plain := keyTemplate(key.Artifact)
	plain.ObjectAttributes.FixedTPM, plain.ObjectAttributes.FixedParent, plain.ObjectAttributes.SensitiveDataOrigin = false, false, false
	if err := load(plain); err != nil {
		t.Errorf("a key that admits what it is: %v", err)
	}
}

// TestStatementTypes: a statement of each other type is none about a key, even if it
// is signed and everything else fits.
func TestStatementTypes(t *testing.T) {
	real, forgery := goodEvidence(t), forged{softwareKey(t)}
	e := forgery.attest(t, real)
	name := areaName(t, e.KeyPublic)
	for what, attested := range map[tpm2.TPMST]tpm2.TPMUAttest{
		tpm2.TPMSTAttestQuote:    tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{PCRDigest: tpm2.TPM2BDigest(name)}),
		tpm2.TPMSTAttestCreation: tpm2.NewTPMUAttest(tpm2.TPMSTAttestCreation, &tpm2.TPMSCreationInfo{ObjectName: name}),
		tpm2.TPMSTAttestNV:       tpm2.NewTPMUAttest(tpm2.TPMSTAttestNV, &tpm2.TPMSNVCertifyInfo{IndexName: name}),
		tpm2.TPMSTAttestTime:     tpm2.NewTPMUAttest(tpm2.TPMSTAttestTime, &tpm2.TPMSTimeAttestInfo{}),
	} {
		statement, err := tpm2.Unmarshal[tpm2.TPMSAttest](e.Certify)
		if err != nil {
			t.Fatal(err)
		}
		statement.Type, statement.Attested = what, attested
		e.Certify = tpm2.Marshal(statement)
		e.Signature = forgery.sign(t, e.Certify)
		if _, err := tpm.VerifyAttestation(e, unboundOptions(nil)); outcome(t, err) != string(tpm.NotACertify) {
			t.Errorf("type %#x: %v", uint16(what), err)
		}
		e = forgery.certify(t, real, bytes.Clone(e.KeyPublic))
	}
}

// TestRefusalsAdvise: honest people who come with the wrong file learn what to do.
func TestRefusalsAdvise(t *testing.T) {
	vectors, ek := readVectors(t), readRoots(t)
	for name, want := range map[string]string{
		"stale-nonce":         "key attest KEY --nonce 77616e746564",
		"unbound":             "tpm challenge",
		"challenge-other-tpm": "tpm challenge",
		"challenge-other-ak":  "make new evidence",
		"challenge-late":      "make another",
		"wrong-answer":        "belongs to one challenge",
		"forged-enrolled":     "enrolled again",
	} {
		_, err := vectors[name].verify(t, ek)
		if outcome(t, err) != vectors[name].Expect || !strings.Contains(strings.Join(hint.Of(err), "\n"), want) {
			t.Errorf("%s: %v, hints %q", name, err, hint.Of(err))
		}
	}
}

// TestTPMDerivesNoOriginal: who knows what a key is derived from knows the key, so
// neither may claim that it was made in the TPM.
func TestTPMDerivesNoOriginal(t *testing.T) {
	t.Parallel()
	p := newProver(t, newEKCA(t), 3)
	if _, err := p.derivationParent([]byte("known")); !errors.Is(err, tpm2.TPMRCAttributes) {
		t.Errorf("a parent that somebody knows: %v", err)
	}
	parent, err := p.derivationParent(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.flush(parent)
	area := keyTemplate(key.Artifact)
	if k, err := p.derive(parent, area); !errors.Is(err, tpm2.TPMRCAttributes) {
		t.Errorf("a derived key that claims to be original: %x, %v", k.name, err)
	}
	area.ObjectAttributes.SensitiveDataOrigin = false
	k, err := p.derive(parent, area)
	if err != nil {
		t.Fatal(err)
	}
	defer p.flush(k)
	if _, err := tpm.VerifyAttestation(p.certify(k, p.ak, nil), unboundOptions(nil)); outcome(t, err) != string(tpm.Imported) {
		t.Errorf("a derived key: %v", err)
	}
}

// derivationParent makes a key that others are derived from; known is its secret, nil
// if the TPM is to draw one.
func (p *prover) derivationParent(known []byte) (loaded, error) {
	attributes := own
	attributes.SensitiveDataOrigin, attributes.SignEncrypt, attributes.Restricted, attributes.Decrypt = known == nil, false, true, true
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		InSensitive:   tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: known})}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: attributes,
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{Scheme: tpm2.TPMTKeyedHashScheme{
				Scheme:  tpm2.TPMAlgXOR,
				Details: tpm2.NewTPMUSchemeKeyedHash(tpm2.TPMAlgXOR, &tpm2.TPMSSchemeXOR{HashAlg: tpm2.TPMAlgSHA256, KDF: tpm2.TPMAlgKDF1SP800108}),
			}}),
			Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{}),
		}),
	}.Execute(p.tpm)
	if err != nil {
		return loaded{}, err
	}
	return loaded{rsp.ObjectHandle, rsp.OutPublic.Bytes(), rsp.Name}, nil
}

func (p *prover) derive(parent loaded, area tpm2.TPMTPublic) (loaded, error) {
	rsp, err := tpm2.CreateLoaded{
		ParentHandle: parent.auth(),
		InPublic: tpm2.New2BTemplate(&tpm2.TPMTTemplate{
			Type: area.Type, NameAlg: area.NameAlg, ObjectAttributes: area.ObjectAttributes, AuthPolicy: area.AuthPolicy,
			Parameters: area.Parameters, Unique: tpm2.TPMSDerive{Label: tpm2.TPM2BLabel{Buffer: []byte("label")}},
		}),
	}.Execute(p.tpm)
	if err != nil {
		return loaded{}, err
	}
	return loaded{rsp.ObjectHandle, rsp.OutPublic.Bytes(), rsp.Name}, nil
}
