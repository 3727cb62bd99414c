package tpm_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestAttestWhileLockedOut: keys without a PIN are attested, and challenges answered,
// with each endorsement key.
func TestAttestWhileLockedOut(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	chip.ExpectLockout(3)
	d := chip.Open()
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), lend(t, "wrong"))
	safe, plain := create(t, b, "safe", key.P256, []byte("right")), create(t, b, "plain", key.P256, nil)
	for range 3 {
		if err := sign(t.Context(), safe); err == nil {
			t.Fatal("signed")
		}
	}
	var locked *key.LockoutError
	if _, err := attest(t, safe, nil); !errors.As(err, &locked) {
		t.Errorf("a key with a PIN: %v", err)
	}
	e := mustAttest(t, plain)
	keys, err := d.EndorsementKeys(t.Context())
	if err != nil || len(keys) != 2 {
		t.Fatal(err)
	}
	for _, k := range keys {
		e.EKCertificate, e.EKPublic = k.Certificate, k.Public
		challenge, _, err := tpm.NewChallenge(e, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Answer(t.Context(), challenge); err != nil {
			t.Errorf("%s: %v", k.Template, err)
		}
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

// TestAttestedTPMIsKilled: what was made before a power cut serves afterwards.
func TestAttestedTPMIsKilled(t *testing.T) {
	t.Parallel()
	chip := tpmtest.StartProvisioned(t)
	d := chip.Open()
	s := create(t, backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil), "k", key.P256, nil)
	e := mustAttest(t, s)
	challenge, _, err := tpm.NewChallenge(e, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		chip.Kill()
		chip.Restart()
		if _, err := d.Answer(t.Context(), challenge); err != nil {
			t.Error(err)
		}
	}
	if again := mustAttest(t, s); !bytes.Equal(again.AKPublic, e.AKPublic) {
		t.Error("another attestation key")
	}
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

// TestCredentialOfTPM2Tools: another program's credentials are read, with each
// endorsement key.
func TestCredentialOfTPM2Tools(t *testing.T) {
	t.Parallel()
	program := testenv.Need(t, testenv.TPM2MakeCredential)
	chip := tpmtest.StartProvisioned(t)
	d := chip.Open()
	e := mustAttest(t, create(t, backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil), "k", key.P256, nil))
	challenge, _, err := tpm.NewChallenge(e, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := d.EndorsementKeys(t.Context())
	if err != nil || len(keys) != 2 {
		t.Fatal(err)
	}
	secret := []byte("what only this TPM can read")
	for _, k := range keys {
		dir := t.TempDir()
		in := func(name string) string { return filepath.Join(dir, name) }
		write(t, in("secret"), secret)
		write(t, in("ek"), append(binary.BigEndian.AppendUint16(nil, uint16(len(k.Public))), k.Public...))
		cmd := exec.Command(program, "-Q", "-T", "none", "-u", in("ek"), "-s", in("secret"), "-n", challenge.AKName, "-o", in("credential"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		data, err := os.ReadFile(in("credential"))
		if err != nil {
			t.Fatal(err)
		}
		file := cryptobyte.String(data)
		var blob, seed cryptobyte.String
		if !file.Skip(8) || !file.ReadUint16LengthPrefixed(&blob) || !file.ReadUint16LengthPrefixed(&seed) || !file.Empty() {
			t.Fatalf("credential %x", data)
		}
		answer, err := d.Answer(t.Context(), &tpm.Challenge{
			EKCertificateSHA256: k.SHA256, AKName: challenge.AKName, Credential: blob, Secret: seed,
		})
		if err != nil || !bytes.Equal(answer.Secret, secret) {
			t.Errorf("%s: %+v, %v", k.Template, answer, err)
		}
	}
}
