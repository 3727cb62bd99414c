package tpm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// WrapOptions say what a wrapped key will be.
type WrapOptions struct {
	Usage key.Usage
	// PIN lends the secret that the TPM will ask for; nil makes a key without one.
	PIN key.LendFunc
	// Description is a line about the key that stands in the file, readable by
	// everybody; empty leaves it out. [Backend.Import] takes it for the comment.
	Description string
}

// Wrap encrypts a software key so that only the TPM with the storage key parent
// can use it, and returns a TSS2 PEM file of the importable kind, for
// [Backend.Import] of that TPM's machine. It needs no device. The key has a label
// for its usage like one that was made in a TPM, and attributes that say that it
// was not. Errors wrap [key.ErrUnsupported] for keys that no TPM takes, and
// [key.ErrUsage]. What go-tpm copies of the key is not wiped.
func Wrap(ctx context.Context, parent *ecdsa.PublicKey, private crypto.Signer, o WrapOptions) ([]byte, error) {
	spec, err := o.spec(private)
	if err != nil {
		return nil, err
	}
	target, err := storageArea(parent)
	if err != nil {
		return nil, err
	}
	file := &keyFile{kind: oidImportable, parent: ownerHierarchy}
	if o.Description != "" {
		file.description = &o.Description
	}
	wrap := func(pin []byte) error { return file.wrap(target, private, spec, pin) }
	if o.PIN == nil {
		err = wrap(nil)
	} else {
		err = o.PIN(ctx, func(pin []byte) error {
			if err := checkPIN(pin); err != nil {
				return err
			}
			return wrap(pin)
		})
		if err == nil && file.private == nil {
			err = fmt.Errorf("no PIN was given: %w", key.ErrDenied)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("wrap key: %w", err)
	}
	return file.encode()
}

// CheckWrap fails as [Wrap] would, for everything but the parent and the PIN itself,
// so that nobody is asked in vain.
func CheckWrap(private crypto.Signer, o WrapOptions) error {
	_, err := o.spec(private)
	return err
}

// spec checks what is to be wrapped, and how.
func (o WrapOptions) spec(private crypto.Signer) (key.Spec, error) {
	spec := key.Spec{Name: "wrapped", Usage: o.Usage, Comment: o.Description, PIN: o.PIN}
	var err error
	if spec.Algorithm, err = wrappable(private); err != nil {
		return spec, err
	}
	return spec, spec.Validate()
}

// Generate makes a software key to [Wrap].
func Generate(alg key.Algorithm) (crypto.Signer, error) {
	if bits, isRSA := rsaSizes[alg]; isRSA {
		return rsa.GenerateKey(rand.Reader, int(bits))
	}
	curve, known := softCurves[alg]
	if !known {
		return nil, fmt.Errorf("algorithm %.40q: %w", string(alg), key.ErrUsage)
	}
	return ecdsa.GenerateKey(curve, rand.Reader)
}

var softCurves = map[key.Algorithm]elliptic.Curve{
	key.P256: elliptic.P256(), key.P384: elliptic.P384(), key.P521: elliptic.P521(),
}

// wrappable tells the algorithm of a software key that a TPM can hold.
func wrappable(private crypto.Signer) (key.Algorithm, error) {
	switch k := private.(type) {
	case ed25519.PrivateKey:
		return "", hint.Wrap(fmt.Errorf("an Ed25519 key: TPMs have no Ed25519: %w", key.ErrUnsupported),
			"make a new key in the TPM, and put its public key where the old one is: sealsmith key create NAME --usage ssh")
	case *rsa.PrivateKey:
		return wrappableRSA(k)
	case *ecdsa.PrivateKey:
		alg, err := key.AlgorithmOf(k.Public())
		if err != nil {
			return "", fmt.Errorf("curve %s: %w by TPMs", k.Params().Name, key.ErrUnsupported)
		}
		return alg, nil
	}
	return "", fmt.Errorf("private key of type %T: %w by TPMs", private, key.ErrUnsupported)
}

// wrappableRSA demands what TPMs demand: a size that is in use, two primes of half
// that size, and the usual exponent (part 1, annex B.2; part 2, 11.2.4.7).
func wrappableRSA(k *rsa.PrivateKey) (key.Algorithm, error) {
	bits := k.N.BitLen()
	alg, err := key.AlgorithmOf(k.Public())
	if err != nil {
		return "", hint.Wrap(fmt.Errorf("RSA key of %d bits: %w", bits, key.ErrUnsupported),
			"RSA keys have 2048, 3072 or 4096 bits")
	}
	if k.E != 65537 {
		return "", fmt.Errorf("RSA key with the exponent %d, TPMs want 65537: %w", k.E, key.ErrUnsupported)
	}
	if len(k.Primes) != 2 || k.Primes[0].BitLen() != bits/2 || k.Primes[1].BitLen() != bits/2 {
		return "", fmt.Errorf("RSA key that is not the product of two primes of %d bits: %w", bits/2, key.ErrUnsupported)
	}
	if err := k.Validate(); err != nil {
		return "", fmt.Errorf("RSA key: %w: %w", err, key.ErrUsage)
	}
	return alg, nil
}

// wrap encrypts the key and fills in what depends on it and on the PIN.
func (f *keyFile) wrap(target *tpm2.TPMTPublic, private crypto.Signer, spec key.Spec, pin []byte) error {
	public, err := wrappedArea(private, spec, pin != nil)
	if err != nil {
		return err
	}
	name, err := tpm2.ObjectName(public)
	if err != nil {
		return err
	}
	sensitive, err := sensitiveArea(private, pin)
	if err != nil {
		return err
	}
	defer clear(sensitive)
	encapsulation, err := tpm2.ImportEncapsulationKey(target)
	if err != nil {
		return err
	}
	duplicate, seed, err := tpm2.CreateDuplicate(rand.Reader, encapsulation, name.Buffer, sensitive)
	if err != nil {
		return err
	}
	noPIN := pin == nil
	f.emptyAuth, f.public, f.private = &noPIN, tpm2.Marshal(public), duplicate
	f.secret = tpm2.Marshal(tpm2.TPM2BEncryptedSecret{Buffer: seed})
	return nil
}

// wrappedArea is the public area of a key that was made elsewhere: the template
// without the attributes that would say otherwise.
func wrappedArea(private crypto.Signer, spec key.Spec, pin bool) (*tpm2.TPMTPublic, error) {
	t := template(spec.Algorithm, spec.Usage, pin)
	t.ObjectAttributes.FixedTPM, t.ObjectAttributes.FixedParent, t.ObjectAttributes.SensitiveDataOrigin = false, false, false
	switch public := private.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := newPoint(public)
		if err != nil {
			return nil, err
		}
		t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, point)
	case *rsa.PublicKey:
		t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: public.N.Bytes()})
	}
	return &t, nil
}

// sensitiveArea is the TPMT_SENSITIVE of a key (part 2, 12.3.2.4): the scalar as
// long as the field, or one prime. The caller clears it.
func sensitiveArea(private crypto.Signer, pin []byte) ([]byte, error) {
	var s tpm2.TPMTSensitive
	switch k := private.(type) {
	case *ecdsa.PrivateKey:
		scalar, err := k.Bytes() // as long as the field
		if err != nil {
			return nil, err
		}
		defer clear(scalar)
		s.SensitiveType = tpm2.TPMAlgECC
		s.Sensitive = tpm2.NewTPMUSensitiveComposite(tpm2.TPMAlgECC, &tpm2.TPM2BECCParameter{Buffer: scalar})
	case *rsa.PrivateKey:
		prime := k.Primes[0].Bytes() // of half the size, see wrappableRSA
		defer clear(prime)
		s.SensitiveType = tpm2.TPMAlgRSA
		s.Sensitive = tpm2.NewTPMUSensitiveComposite(tpm2.TPMAlgRSA, &tpm2.TPM2BPrivateKeyRSA{Buffer: prime})
	}
	if pin != nil {
		// Zeros at the end mean nothing to a TPM, and keep the file from telling
		// how long the PIN is.
		auth := make([]byte, sha256.Size)
		copy(auth, pin)
		defer clear(auth)
		s.AuthValue = tpm2.TPM2BAuth{Buffer: auth}
	}
	return tpm2.Marshal(s), nil
}

// storageArea rebuilds the public area of a storage key from its public key: all
// else is the template's.
func storageArea(public *ecdsa.PublicKey) (*tpm2.TPMTPublic, error) {
	if public == nil || public.Curve != elliptic.P256() {
		return nil, hint.Wrap(fmt.Errorf("the storage key is not an ECDSA key on P-256: %w", key.ErrUsage), parentHint)
	}
	point, err := newPoint(public)
	if err != nil {
		return nil, err
	}
	t := storageTemplate()
	t.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, point)
	return &t, nil
}

const parentHint = "on the machine with the TPM, run: sealsmith tpm srk > parent.pem"

// newPoint encodes a point with coordinates as long as the field: some TPMs take
// no others.
func newPoint(public *ecdsa.PublicKey) (*tpm2.TPMSECCPoint, error) {
	encoded, err := public.Bytes() // SEC 1, section 2.3.3: 4, x, y
	if err != nil {
		return nil, err
	}
	half := len(encoded) / 2
	if len(encoded) != 1+2*half {
		return nil, errors.New("point of odd size")
	}
	return &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: encoded[1 : 1+half]}, Y: tpm2.TPM2BECCParameter{Buffer: encoded[1+half:]},
	}, nil
}
