package bench

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// rawSignatures counts TPM2_Sign commands per second.
func rawSignatures(t *testing.T, d *tpm.Device, alg key.Algorithm, pin []byte) (perSecond float64) {
	t.Helper()
	withRawKey(t, d, alg, pin, func(sign func() error) (err error) {
		perSecond, err = perSecondOf(sign)
		return err
	})
	return perSecond
}

// rawLatencies returns how long so many TPM2_Sign commands in a row take, again and
// again.
func rawLatencies(t *testing.T, d *tpm.Device, alg key.Algorithm, row int) (all []time.Duration) {
	t.Helper()
	withRawKey(t, d, alg, nil, func(sign func() error) error {
		_, err := perSecondOf(func() error {
			start := time.Now()
			for range row {
				if err := sign(); err != nil {
					return err
				}
			}
			all = append(all, time.Since(start))
			return nil
		})
		return err
	})
	return all
}

// withRawKey lends what sends a TPM2_Sign command as go-tpm does, with a loaded key
// in a session that is kept: salted to the storage primary, with the first parameter
// encrypted, as ours is. The commands cross the device's own connection.
func withRawKey(t *testing.T, d *tpm.Device, alg key.Algorithm, pin []byte, use func(sign func() error) error) {
	t.Helper()
	err := d.Do(t.Context(), func(chip transport.TPM) error {
		return withRawSession(chip, pin, func(session tpm2.Session) error {
			made, err := tpm2.CreatePrimary{
				PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(rawTemplate(alg)), InSensitive: rawSensitive(pin),
			}.Execute(chip)
			if err != nil {
				return err
			}
			k := tpm2.AuthHandle{Handle: made.ObjectHandle, Name: made.Name, Auth: session}
			err = use(func() error { return rawSign(chip, k, alg) })
			return errors.Join(err, flush(chip, k.Handle))
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// rawInTurn counts what loading one of several keys, a signature and unloading it
// make together, per second; the parent of the keys stays loaded.
func rawInTurn(t *testing.T, d *tpm.Device, alg key.Algorithm, keys int) (perSecond float64) {
	t.Helper()
	err := d.Do(t.Context(), func(chip transport.TPM) error {
		return withRawSession(chip, nil, func(session tpm2.Session) error {
			made, err := rawParent(chip)
			if err != nil {
				return err
			}
			parent := tpm2.AuthHandle{Handle: made.ObjectHandle, Name: made.Name, Auth: session}
			var files []*tpm2.CreateResponse
			for range keys {
				file, err := tpm2.Create{ParentHandle: parent, InPublic: tpm2.New2B(rawTemplate(alg))}.Execute(chip)
				if err != nil {
					return err
				}
				files = append(files, file)
			}
			next := 0
			perSecond, err = perSecondOf(func() error {
				file := files[next%keys]
				next++
				k, err := tpm2.Load{ParentHandle: parent, InPrivate: file.OutPrivate, InPublic: file.OutPublic}.Execute(chip)
				if err != nil {
					return err
				}
				err = rawSign(chip, tpm2.AuthHandle{Handle: k.ObjectHandle, Name: k.Name, Auth: session}, alg)
				return errors.Join(err, flush(chip, k.ObjectHandle))
			})
			return errors.Join(err, flush(chip, parent.Handle))
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return perSecond
}

// perSecondOf counts calls during the signing time.
func perSecondOf(f func() error) (float64, error) {
	count, start := 0, time.Now()
	for ; time.Since(start) < signingTime; count++ {
		if err := f(); err != nil {
			return 0, err
		}
	}
	return float64(count) / time.Since(start).Seconds(), nil
}

// rawSign signs a random digest.
func rawSign(chip transport.TPM, k tpm2.AuthHandle, alg key.Algorithm) error {
	scheme := tpm2.TPMAlgECDSA
	if alg.RSA() {
		scheme = tpm2.TPMAlgRSASSA
	}
	digest := make([]byte, 32)
	rand.Read(digest)
	_, err := tpm2.Sign{
		KeyHandle:  k,
		Digest:     tpm2.TPM2BDigest{Buffer: digest},
		InScheme:   tpm2.TPMTSigScheme{Scheme: scheme, Details: tpm2.NewTPMUSigScheme(scheme, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}.Execute(chip)
	return err
}

// withRawSession lends a session of go-tpm's that knows the PIN.
func withRawSession(chip transport.TPM, pin []byte, use func(tpm2.Session) error) error {
	parent, err := rawParent(chip)
	if err != nil {
		return err
	}
	public, err := parent.OutPublic.Contents()
	if err != nil {
		return err
	}
	session, end, err := tpm2.HMACSession(chip, tpm2.TPMAlgSHA256, 16, tpm2.Auth(pin),
		tpm2.Salted(parent.ObjectHandle, *public), tpm2.AESEncryption(128, tpm2.EncryptIn))
	if err := errors.Join(err, flush(chip, parent.ObjectHandle)); err != nil {
		return err
	}
	return errors.Join(use(session), end())
}

func rawParent(chip transport.TPM) (*tpm2.CreatePrimaryResponse, error) {
	return tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(chip)
}

func rawSensitive(pin []byte) tpm2.TPM2BSensitiveCreate {
	return tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: pin}}}
}

func flush(chip transport.TPM, h tpm2.TPMHandle) error {
	_, err := tpm2.FlushContext{FlushHandle: h}.Execute(chip)
	return err
}

// rawTemplate is that of a key that signs.
func rawTemplate(alg key.Algorithm) tpm2.TPMTPublic {
	template := tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, SignEncrypt: true, NoDA: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{CurveID: tpm2.TPMECCNistP256}),
	}
	if alg.RSA() {
		template.Type = tpm2.TPMAlgRSA
		template.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048})
	}
	return template
}
