package tpm_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

// TestEndorsementKeyThatRefuses: its own password, and the lockout that protects it.
func TestEndorsementKeyThatRefuses(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	d := chip.Open()
	e := mustAttest(t, create(t, backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil), "k", key.P256, nil))
	challenge, _, err := tpm.NewChallenge(e, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	const ofSession2 = 0xa00 // TPM 2.0 part 2, section 6.6.2
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCActivateCredential, Kind: tpmtest.Answer, Code: tpm2.TPMRCAuthFail | ofSession2})
	if _, err := d.Answer(t.Context(), challenge); !errors.Is(err, tpm2.TPMRCAuthFail) || errors.Is(err, key.ErrForeign) || len(hint.Of(err)) == 0 {
		t.Errorf("password: %v, hints %q", err, hint.Of(err))
	}
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCActivateCredential, Kind: tpmtest.Answer, Code: tpm2.TPMRCLockout})
	var locked *key.LockoutError
	if _, err := d.Answer(t.Context(), challenge); !errors.As(err, &locked) {
		t.Errorf("lockout: %v", err)
	}
	if _, err := d.Answer(t.Context(), challenge); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestEndorsementPassword: an endorsement key that must be made, or that needs the
// hierarchy's policy, cannot be used; the persistent P-384 key can.
func TestEndorsementPassword(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	_, err := tpm2.HierarchyChangeAuth{AuthHandle: tpm2.TPMRHEndorsement, NewAuth: tpm2.TPM2BAuth{Buffer: []byte("endorsement")}}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	d := chip.Open()
	e := mustAttest(t, create(t, backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil), "k", key.P256, nil))
	answer := func(e *tpm.Evidence) error {
		challenge, _, err := tpm.NewChallenge(e, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Answer(t.Context(), challenge)
		return err
	}
	if err := answer(e); err != nil {
		t.Errorf("P-384: %v", err)
	}
	keys, err := d.EndorsementKeys(t.Context())
	if err != nil || len(keys) != 2 {
		t.Fatal(err)
	}
	e.EKCertificate, e.EKPublic = keys[1].Certificate, keys[1].Public
	if err := answer(e); err == nil || !strings.Contains(strings.Join(hint.Of(err), ""), "endorsement hierarchy has a password") {
		t.Errorf("RSA-2048: %v, hints %q", err, hint.Of(err))
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

// TestAttestationKeyIsMadeOnce, whichever of two processes is faster.
func TestAttestationKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	s := create(t, newBackend(t, chip, nil), "k", key.P256, nil)
	var wg sync.WaitGroup
	var made [4]*tpm.Evidence
	for i := range made {
		wg.Go(func() {
			data, err := s.(key.Attester).Attest(t.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			made[i], err = tpm.ParseEvidence(data)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, e := range made {
		if e == nil || !bytes.Equal(e.AKPublic, made[0].AKPublic) {
			t.Fatal("more than one attestation key")
		}
	}
}

// TestAttestationKeyOfAnotherTPM is replaced, and that is said: the TPM was cleared,
// or is another one.
func TestAttestationKeyOfAnotherTPM(t *testing.T) {
	t.Parallel()
	one, other := tpmtest.StartProvisioned(t), tpmtest.AnotherManufacturer(t).Start(t)
	old := mustAttest(t, create(t, newBackend(t, one, nil), "k", key.P256, nil))
	ak := only(t, filepath.Join(one.Options().DataDir, "ak-*.tpm"))
	data, err := os.ReadFile(ak)
	if err != nil {
		t.Fatal(err)
	}
	// The other TPM has another device string, hence another file.
	var said []string
	o := other.Options()
	o.Notice = func(text string) { said = append(said, text) }
	d, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
	defer closed(t, b)
	s := create(t, b, "k", key.P256, nil)
	mustAttest(t, s)
	write(t, only(t, filepath.Join(o.DataDir, "ak-*.tpm")), data)
	said = nil
	again := mustAttest(t, s)
	if bytes.Equal(again.AKPublic, old.AKPublic) {
		t.Error("the attestation key of another TPM was used")
	}
	if len(said) != 1 || !strings.Contains(said[0], "enrolled again") {
		t.Errorf("said %q", said)
	}
	if mustAttest(t, s); len(said) != 1 {
		t.Errorf("made again: %q", said)
	}
}

// TestBadAttestationKeyFile: a file that is damaged, or holds another key, is neither
// used nor replaced.
func TestBadAttestationKeyFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	chip := tpmtest.StartProvisioned(t)
	s := create(t, newBackend(t, chip, nil), "k", key.P256, nil)
	mustAttest(t, s)
	path := only(t, filepath.Join(chip.Options().DataDir, "ak-*.tpm"))
	userKey, err := os.ReadFile(only(t, filepath.Join(f.dir, "*.tpm")))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"damaged": []byte("x"), "a user's key": userKey, "empty": nil} {
		write(t, path, content)
		if _, err := attest(t, s, nil); err == nil || !strings.Contains(strings.Join(hint.Of(err), ""), "backup") {
			t.Errorf("%s: %v, hints %q", name, err, hint.Of(err))
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, content) {
			t.Errorf("%s: the file was changed (%v)", name, err)
		}
	}
}

func only(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %q, %v", pattern, files, err)
	}
	return files[0]
}

// TestChallengesThatAreNotOurs are refused, each for its reason.
func TestChallengesThatAreNotOurs(t *testing.T) {
	t.Parallel()
	chip, other := tpmtest.StartProvisioned(t), tpmtest.AnotherManufacturer(t).Start(t)
	d := chip.Open()
	e := mustAttest(t, create(t, backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil), "k", key.P256, nil))
	foreign := mustAttest(t, create(t, newBackend(t, other, nil), "k", key.P256, nil))
	challenge := func(e *tpm.Evidence) *tpm.Challenge {
		c, _, err := tpm.NewChallenge(e, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	withEKOf := func(ek *tpm.Evidence) *tpm.Evidence {
		mixed := *e
		mixed.EKCertificate, mixed.EKPublic = ek.EKCertificate, ek.EKPublic
		return &mixed
	}
	wrongSecret, flipped := challenge(e), challenge(e)
	wrongSecret.Secret = challenge(withEKOf(foreign)).Secret
	flipped.Credential[len(flipped.Credential)-1] ^= 1
	for name, test := range map[string]struct {
		challenge *tpm.Challenge
		text      string
		usesEK    bool
	}{
		"another attestation key": {challenge(foreign), "another attestation key", false},
		"another EK":              {challenge(withEKOf(foreign)), "does not have that EK certificate", false},
		"made for another EK":     {wrongSecret, "cannot read it", true},
		"damaged":                 {flipped, "cannot read it", true},
	} {
		chip.Commands()
		_, err := d.Answer(t.Context(), test.challenge)
		if !errors.Is(err, key.ErrForeign) || !strings.Contains(err.Error(), test.text) || len(hint.Of(err)) == 0 {
			t.Errorf("%s: %v, hints %q", name, err, hint.Of(err))
		}
		if used := tpmtest.Count(chip.Commands(), tpm2.TPMCCActivateCredential) > 0; used != test.usesEK {
			t.Errorf("%s: the endorsement key was used: %v", name, used)
		}
	}
	if _, err := d.Answer(t.Context(), &tpm.Challenge{AKName: hex.EncodeToString(make([]byte, 34))}); !errors.Is(err, key.ErrUsage) {
		t.Errorf("an empty challenge: %v", err)
	}
	if _, err := d.Answer(t.Context(), challenge(e)); err != nil {
		t.Errorf("after all of them: %v", err)
	}
}
