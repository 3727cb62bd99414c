package sshwire

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ssh"
)

// Blob is a public key in SSH's wire format (RFC 4253, section 6.6). It fails
// for keys that SSH has no format for.
func Blob(pub crypto.PublicKey) ([]byte, error) {
	k, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return k.Marshal(), nil
}

// ParseBlob is the strict inverse of [Blob]; certificates and FIDO keys are
// refused.
func ParseBlob(blob []byte) (crypto.PublicKey, error) {
	k, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, fmt.Errorf("%w public key: %v", ErrMalformed, err)
	}
	plain, ok := k.(ssh.CryptoPublicKey)
	if !ok {
		return nil, fmt.Errorf("%w public key: type %.80q is not plain", ErrMalformed, k.Type())
	}
	pub := plain.CryptoPublicKey()
	if again, err := Blob(pub); err != nil || !bytes.Equal(again, blob) {
		return nil, fmt.Errorf("%w public key: not the plain encoding", ErrMalformed)
	}
	return pub, nil
}

// Fingerprint is the fingerprint of a public key blob as ssh-keygen -l shows it.
func Fingerprint(blob []byte) string {
	sum := sha256.Sum256(blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// Algorithm is how SSH has a key sign: the algorithm's name and its hash. ECDSA
// keys have one; RSA keys sign with rsaHash, which is SHA-256 or SHA-512.
func Algorithm(pub crypto.PublicKey, rsaHash crypto.Hash) (name string, hash crypto.Hash, err error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		switch rsaHash {
		case crypto.SHA256:
			return ssh.KeyAlgoRSASHA256, rsaHash, nil
		case crypto.SHA512:
			return ssh.KeyAlgoRSASHA512, rsaHash, nil
		}
	case *ecdsa.PublicKey:
		switch k.Params().BitSize {
		case 256:
			return ssh.KeyAlgoECDSA256, crypto.SHA256, nil
		case 384:
			return ssh.KeyAlgoECDSA384, crypto.SHA384, nil
		case 521:
			return ssh.KeyAlgoECDSA521, crypto.SHA512, nil
		}
	}
	return "", 0, fmt.Errorf("no SSH signature algorithm for %T with %v", pub, rsaHash)
}

// EncodeSignature makes an SSH signature blob (RFC 4253, section 6.6) of a
// signature as crypto.Signer returns it: X9.62 DER for ECDSA keys, which becomes
// RFC 5656's two integers, or the octets of an RSA signature.
func EncodeSignature(pub crypto.PublicKey, algorithm string, signature []byte) ([]byte, error) {
	if _, ok := pub.(*ecdsa.PublicKey); ok {
		der := cryptobyte.String(signature)
		var body cryptobyte.String
		var r, s big.Int
		if !der.ReadASN1(&body, asn1.SEQUENCE) || !der.Empty() ||
			!body.ReadASN1Integer(&r) || !body.ReadASN1Integer(&s) || !body.Empty() {
			return nil, fmt.Errorf("%w ECDSA signature", ErrMalformed)
		}
		signature = ssh.Marshal(struct{ R, S *big.Int }{&r, &s})
	}
	return ssh.Marshal(ssh.Signature{Format: algorithm, Blob: signature}), nil
}
