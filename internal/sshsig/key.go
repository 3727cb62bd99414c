package sshsig

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// ErrKey is wrapped by the errors for public keys that cannot sign for us:
// unreadable, too short, or of a kind that is not supported.
var ErrKey = errors.New("unusable SSH public key")

// algorithms lists the signature algorithms of each key type that counts.
// "ssh-rsa" signatures use SHA-1 and are not among them.
var algorithms = map[string][]string{
	ssh.KeyAlgoECDSA256: {ssh.KeyAlgoECDSA256},
	ssh.KeyAlgoECDSA384: {ssh.KeyAlgoECDSA384},
	ssh.KeyAlgoECDSA521: {ssh.KeyAlgoECDSA521},
	ssh.KeyAlgoED25519:  {ssh.KeyAlgoED25519},
	ssh.KeyAlgoRSA:      {ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512},
}

// Fingerprint is the fingerprint of a key as ssh-keygen -l prints it. It fails
// for keys that SSH has no format for.
func Fingerprint(pub crypto.PublicKey) (string, error) {
	k, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrKey, err)
	}
	return ssh.FingerprintSHA256(k), nil
}

// ParsePublicKeys reads a public key file of OpenSSH: lines of key type, base64
// and an optional comment. Empty lines and lines that begin with # are skipped;
// anything else fails with an error that wraps [ErrKey] and names the line.
func ParsePublicKeys(data []byte) ([]crypto.PublicKey, error) {
	if len(data) > limits.AllowedSigners {
		return nil, fmt.Errorf("%w: file of %d bytes, at most %d", ErrKey, len(data), limits.AllowedSigners)
	}
	var keys []crypto.PublicKey
	for number, line := range lines(data) {
		k, err := parseTextKey(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		keys = append(keys, cryptoKey(k))
	}
	return keys, nil
}

// parseTextKey reads "type base64 [comment]".
func parseTextKey(text string) (ssh.PublicKey, error) {
	keyType, text := cutField(text)
	if !isKeyType(keyType) {
		return nil, fmt.Errorf("%w: %.40q is no type of key", ErrKey, keyType)
	}
	encoded, _ := cutField(text)
	blob, err := strictBase64.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("%w: base64: %v", ErrKey, err)
	}
	k, err := parseKey(blob)
	if err != nil {
		return nil, err
	}
	if k.Type() != keyType {
		return nil, fmt.Errorf("%w: %.40q holds a key of type %s", ErrKey, keyType, k.Type())
	}
	return k, nil
}

// parseKey reads a public key blob in its only encoding and refuses the kinds
// that do not count.
func parseKey(blob []byte) (ssh.PublicKey, error) {
	k, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	if !bytes.Equal(k.Marshal(), blob) {
		return nil, fmt.Errorf("%w: encoding is not canonical", ErrKey)
	}
	return k, checkKey(k)
}

func checkKey(k ssh.PublicKey) error {
	switch {
	case strings.Contains(k.Type(), "-cert-v01@"):
		return fmt.Errorf("%w: certificates are not supported", ErrKey)
	case strings.HasPrefix(k.Type(), "sk-"):
		return fmt.Errorf("%w: FIDO keys (%s) are not supported", ErrKey, k.Type())
	case algorithms[k.Type()] == nil:
		return fmt.Errorf("%w: type %.40q is not supported", ErrKey, k.Type())
	}
	if r, ok := cryptoKey(k).(*rsa.PublicKey); ok && r.N.BitLen() < limits.MinRSA {
		return fmt.Errorf("%w: RSA key of %d bits, at least %d", ErrKey, r.N.BitLen(), limits.MinRSA)
	}
	return nil
}

// cryptoKey is the standard library's form of a key that checkKey accepted.
func cryptoKey(k ssh.PublicKey) crypto.PublicKey {
	return k.(ssh.CryptoPublicKey).CryptoPublicKey()
}

// parseSignature reads an SSH signature blob (RFC 4253, section 6.6) in its only
// encoding, for a key of the given type.
func parseSignature(blob []byte, k ssh.PublicKey) (*ssh.Signature, error) {
	var s ssh.Signature
	if err := ssh.Unmarshal(blob, &s); err != nil {
		return nil, fmt.Errorf("%w: signature: %v", ErrMalformed, err)
	}
	if len(s.Rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind the signature", ErrMalformed, len(s.Rest))
	}
	if !slices.Contains(algorithms[k.Type()], s.Format) {
		return nil, fmt.Errorf("%w: signature algorithm %.40q with a key of type %s", ErrMalformed, s.Format, k.Type())
	}
	switch pub := cryptoKey(k).(type) {
	case *rsa.PublicKey:
		// RFC 8332, section 3; shorter ones would be a second encoding.
		if len(s.Blob) != pub.Size() {
			return nil, fmt.Errorf("%w: RSA signature of %d bytes", ErrMalformed, len(s.Blob))
		}
	default:
		if k.Type() != ssh.KeyAlgoED25519 && !canonicalECDSA(s.Blob) {
			return nil, fmt.Errorf("%w: ECDSA signature encoding", ErrMalformed)
		}
	}
	return &s, nil
}

func canonicalECDSA(blob []byte) bool {
	var rs struct{ R, S *big.Int }
	return ssh.Unmarshal(blob, &rs) == nil && bytes.Equal(ssh.Marshal(rs), blob)
}
