package tpm_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

func attest(t *testing.T, s key.Signer, nonce []byte) (*tpm.Evidence, error) {
	t.Helper()
	data, err := s.(key.Attester).Attest(t.Context(), nonce)
	if err != nil {
		return nil, err
	}
	e, err := tpm.ParseEvidence(data)
	if err != nil {
		t.Fatal(err)
	}
	return e, nil
}

func mustAttest(t *testing.T, s key.Signer) *tpm.Evidence {
	t.Helper()
	e, err := attest(t, s, []byte("nonce"))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// chainsTo is a VerifyEK that knows one maker.
func chainsTo(t *testing.T, m *tpmtest.Maker) func(*x509.Certificate, []*x509.Certificate, time.Time) error {
	t.Helper()
	var cas [2]*x509.Certificate
	for i, data := range [][]byte{m.Intermediate, m.Root} {
		block, _ := pem.Decode(data)
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		cas[i] = ca
	}
	return func(leaf *x509.Certificate, _ []*x509.Certificate, _ time.Time) error {
		return errors.Join(leaf.CheckSignatureFrom(cas[0]), cas[0].CheckSignatureFrom(cas[1]))
	}
}

// TestAttest goes the whole way, with each kind of key: evidence, challenge, answer,
// verdict. The first evidence makes the attestation key, and the others use it.
func TestAttest(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	d := chip.Open()
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), lend(t, "2718281828"))
	akPublic := []byte(nil)
	for name, pin := range map[string][]byte{"plain": nil, "pin": []byte("2718281828")} {
		for _, alg := range []key.Algorithm{key.P256, key.RSA2048} {
			s := create(t, b, name+"-"+string(alg), alg, pin)
			e := mustAttest(t, s)
			if akPublic == nil {
				akPublic = e.AKPublic
			}
			if !bytes.Equal(e.AKPublic, akPublic) {
				t.Error("another attestation key than before")
			}
			challenge, pending, err := tpm.NewChallenge(e, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			answer, err := d.Answer(t.Context(), challenge)
			if err != nil {
				t.Fatal(err)
			}
			v, err := tpm.VerifyAttestation(e, tpm.VerifyOptions{
				At: time.Now(), Nonce: []byte("nonce"), VerifyEK: chainsTo(t, tpmtest.Manufacturer(t)),
				Binding: tpm.Binding{Pending: pending, Answer: answer},
			})
			if err != nil {
				t.Fatal(err)
			}
			if v.ID != s.Info().ID || v.Usage != key.SSH {
				t.Errorf("verified %s (%s), want %s", v.ID, v.Usage, s.Info().ID)
			}
			if chip.Saw(answer.Secret) {
				t.Error("the secret crossed the bus")
			}
		}
	}
	if chip.Saw([]byte("2718281828")) {
		t.Error("the PIN crossed the bus")
	}
	mustSign(t, create(t, b, "after", key.P256, nil))
}

// TestAttestIsRefused: what cannot be attested is told before anything is made or
// anybody is asked.
func TestAttestIsRefused(t *testing.T) {
	t.Parallel()
	chip := tpmtest.Start(t) // without EK certificates
	asked := false
	d := chip.Open()
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), func(context.Context, key.AuthRequest, func([]byte) error) error {
		asked = true
		return key.ErrDenied
	})
	s := create(t, b, "k", key.P256, []byte("1234"))
	_, err := attest(t, s, nil)
	if !errors.Is(err, key.ErrUnsupported) || len(hint.Of(err)) == 0 {
		t.Errorf("TPM without EK certificate: %v, hints %q", err, hint.Of(err))
	}
	if _, err := attest(t, s, make([]byte, 33)); !errors.Is(err, key.ErrUsage) {
		t.Errorf("nonce of 33 octets: %v", err)
	}
	if asked {
		t.Error("a person was asked for a PIN")
	}
	if files, _ := filepath.Glob(filepath.Join(chip.Options().DataDir, "ak-*.tpm")); len(files) != 0 {
		t.Errorf("an attestation key was made: %q", files)
	}
	if keys, err := d.EndorsementKeys(t.Context()); err != nil || len(keys) != 0 {
		t.Errorf("endorsement keys %+v, %v", keys, err)
	}
}

// TestImportedKeysAreNotAttested: a TPM would certify them, and no verifier would
// take it.
func TestImportedKeysAreNotAttested(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	d := chip.Open()
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
	file := wrap(t, parentOf(t, d), softKey(t, key.P256), tpm.WrapOptions{Usage: key.SSH})
	s, err := b.Import(t.Context(), key.ImportSpec{Name: "moved", File: file})
	if err != nil {
		t.Fatal(err)
	}
	chip.Commands()
	if _, err := attest(t, s, nil); !errors.Is(err, key.ErrUnsupported) || !strings.Contains(strings.Join(hint.Of(err), ""), "sealsmith key create") {
		t.Errorf("%v, hints %q", err, hint.Of(err))
	}
	if n := len(chip.Commands()); n != 0 {
		t.Errorf("%d commands", n)
	}
}

// TestAttestWithAWrongPIN counts one try, as signing does.
func TestAttestWithAWrongPIN(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	chip.ExpectLockout(1)
	b := newBackend(t, chip, lend(t, "wrong"))
	_, err := attest(t, create(t, b, "k", key.P256, []byte("right")), nil)
	var wrong *key.PINError
	if !errors.As(err, &wrong) || wrong.TriesLeft < 1 {
		t.Errorf("%v", err)
	}
}

// TestAttestWithFullSlots: two keys are loaded in a TPM with three slots, and
// attesting a third finds room for it, the attestation key and their parent.
func TestAttestWithFullSlots(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	b := newBackend(t, chip, nil)
	keys := []key.Signer{create(t, b, "a", key.P256, nil), create(t, b, "b", key.P256, nil), create(t, b, "c", key.P256, nil)}
	for _, s := range keys {
		mustSign(t, s)
	}
	chip.Commands()
	for _, s := range keys {
		mustAttest(t, s)
		mustSign(t, s)
	}
	if n := tpmtest.Count(chip.Commands(), tpm2.TPMCCStartAuthSession); n != 0 {
		t.Errorf("%d sessions were started: the slots were full", n)
	}
}

// TestFaultsWhileAttesting: whatever happens on the way, nothing is left behind, and
// a second try works.
func TestFaultsWhileAttesting(t *testing.T) {
	t.Parallel()
	for _, kind := range []tpmtest.Kind{tpmtest.FailBefore, tpmtest.FailAfter, tpmtest.Cut, tpmtest.Garble} {
		for _, on := range []tpm2.TPMCC{
			tpm2.TPMCCNVRead, tpm2.TPMCCNVReadPublic, tpm2.TPMCCCertify, tpm2.TPMCCActivateCredential, tpm2.TPMCCLoad, tpm2.TPMCCFlushContext,
		} {
			t.Run(fmt.Sprintf("%d of %d", kind, on), func(t *testing.T) {
				t.Parallel()
				chip := tpmtest.StartProvisioned(t)
				d := chip.Open()
				s := create(t, backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil), "k", key.P256, nil)
				chip.Inject(tpmtest.Fault{On: on, Kind: kind})
				e, err := attest(t, s, nil)
				if err != nil {
					e = mustAttest(t, s)
				}
				challenge, _, err := tpm.NewChallenge(e, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.Answer(t.Context(), challenge); err != nil {
					if _, err := d.Answer(t.Context(), challenge); err != nil {
						t.Errorf("second answer: %v", err)
					}
				}
			})
		}
	}
}
