package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/key"
)

// Trust is whose signatures count: some keys, or those that an allowed signers
// file gives to an identity. It is immutable.
type Trust struct {
	keys       []crypto.PublicKey
	allowed    *sshsig.AllowedSigners // nil: keys alone
	identities []string
}

// TrustKeys trusts keys: ECDSA, Ed25519 (in SSHSIG only) and RSA of 2048 bits or
// more.
func TrustKeys(keys ...crypto.PublicKey) (*Trust, error) {
	if len(keys) == 0 {
		return nil, errors.New("no key to trust")
	}
	for _, k := range keys {
		if err := checkKey(k); err != nil {
			return nil, err
		}
	}
	return &Trust{keys: slices.Clone(keys)}, nil
}

// ParseKeys trusts the keys of public key files, each of which is either PEM
// (one or more SubjectPublicKeyInfo) or OpenSSH's lines.
func ParseKeys(files ...[]byte) (*Trust, error) {
	var all []crypto.PublicKey
	for _, file := range files {
		keys, err := parseKeyFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, keys...)
	}
	return TrustKeys(all...)
}

// ParseAllowedSigners trusts the keys that an allowed signers file
// (ssh-keygen(1)) gives to identities. The options namespaces, valid-after and
// valid-before are honoured, all others refuse the file.
func ParseAllowedSigners(file []byte, identities ...string) (*Trust, error) {
	if len(identities) == 0 || slices.Contains(identities, "") {
		return nil, fmt.Errorf("allowed signers need an identity: %w", key.ErrUsage)
	}
	a, err := sshsig.ParseAllowedSigners(file)
	if err != nil {
		return nil, err
	}
	for _, identity := range identities {
		if len(a.Keys(identity)) == 0 {
			return nil, refuse(UnknownIdentity, "no allowed signer matches %.200q", identity)
		}
	}
	return &Trust{allowed: a, identities: slices.Clone(identities)}, nil
}

func parseKeyFile(file []byte) ([]crypto.PublicKey, error) {
	if !bytes.Contains(file, []byte("-----BEGIN ")) {
		keys, err := sshsig.ParsePublicKeys(file)
		if err == nil && len(keys) == 0 {
			err = errors.New("no key in it")
		}
		if err != nil {
			return nil, fmt.Errorf("public key file: %w", err)
		}
		return keys, nil
	}
	if len(file) > limits.AllowedSigners {
		return nil, fmt.Errorf("public key file of %d bytes, at most %d", len(file), limits.AllowedSigners)
	}
	var keys []crypto.PublicKey
	for rest := bytes.TrimSpace(file); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		// pem.Decode would skip text before the block.
		if !bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			return nil, errors.New("public key file: text between the PEM blocks")
		}
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("public key file: malformed PEM")
		}
		if block.Type != "PUBLIC KEY" {
			return nil, fmt.Errorf("public key file: PEM block %.40q, want PUBLIC KEY", block.Type)
		}
		k, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("public key file: %w", err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func checkKey(k crypto.PublicKey) error {
	switch k := k.(type) {
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize >= 256 {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if k.N.BitLen() >= limits.MinRSA {
			return nil
		}
	}
	return fmt.Errorf("key of type %T: %w", k, key.ErrUnsupported)
}

// candidates are the keys whose signatures may count.
func (t *Trust) candidates() []crypto.PublicKey {
	if t.allowed == nil {
		return t.keys
	}
	var keys []crypto.PublicKey
	for _, identity := range t.identities {
		keys = append(keys, t.allowed.Keys(identity)...)
	}
	return keys
}

// Signers lists everybody whose signature may count, without a format: each key, with
// each identity that has it. Namespaces and times are not looked at.
func (t *Trust) Signers() []Signer {
	var all []Signer
	add := func(identity string, keys []crypto.PublicKey) {
		for _, k := range keys {
			if s, err := newSigner("", k); err == nil {
				s.Identity = identity
				all = append(all, s)
			}
		}
	}
	add("", t.keys)
	for _, identity := range t.identities {
		add(identity, t.allowed.Keys(identity))
	}
	return all
}

func newSigner(f Format, k crypto.PublicKey) (s Signer, err error) {
	s.Format = f
	if s.Key, err = key.NewID(k); err == nil {
		s.Fingerprint, err = sshsig.Fingerprint(k)
	}
	return s, err
}

// signer says who signed, if the policy accepts a signature by this key now.
func (p Policy) signer(f Format, k crypto.PublicKey) (Signer, error) {
	s, err := newSigner(f, k)
	if err != nil {
		return Signer{}, refuse(WrongKey, "%w", err)
	}
	if p.Trust.allowed == nil {
		for _, trusted := range p.Trust.keys {
			if id, err := key.NewID(trusted); err == nil && id == s.Key {
				return s, nil
			}
		}
		return Signer{}, refuse(WrongKey, "signed by %s, which is none of the trusted keys", s.Fingerprint)
	}
	var refusal error
	for _, identity := range p.Trust.identities {
		err := p.Trust.allowed.Check(k, identity, p.Namespace, p.At)
		if err == nil {
			s.Identity = identity
			return s, nil
		}
		// A key that is the identity's, but not now or not for this, says more than
		// that it is another's.
		if refusal == nil || reasonOf(refusal) == WrongKey {
			refusal = refuse(reasonOf(err), "signed by %s for %.200q: %w", s.Fingerprint, identity, err)
		}
	}
	return Signer{}, refusal
}

func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, sshsig.ErrUnknownPrincipal):
		return UnknownIdentity
	case errors.Is(err, sshsig.ErrNamespace):
		return WrongNamespace
	case errors.Is(err, sshsig.ErrNotYetValid):
		return NotYetValid
	case errors.Is(err, sshsig.ErrExpired):
		return Expired
	}
	return WrongKey
}
