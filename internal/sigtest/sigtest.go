package sigtest

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/sealsmith/sealsmith/internal/dsse"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// Key is a [key.StructuredSigner] in software. It is no [key.Signer], like the
// agent's.
type Key struct {
	software *keytest.Software
}

var _ key.StructuredSigner = (*Key)(nil)

// NewKey makes an artifact key.
func NewKey(t testing.TB, a key.Algorithm) *Key {
	t.Helper()
	return &Key{generate(t, key.Artifact, a)}
}

// NewDigestKey makes a key that signs any digest.
func NewDigestKey(t testing.TB, a key.Algorithm) *keytest.Software {
	t.Helper()
	return generate(t, key.Digest, a)
}

func generate(t testing.TB, u key.Usage, a key.Algorithm) *keytest.Software {
	t.Helper()
	s, err := keytest.Generate(t.Context(), key.Spec{Name: "release", Usage: u, Algorithm: a, Unattended: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Info implements [key.StructuredSigner].
func (k *Key) Info() key.Info { return k.software.Info() }

// SignDSSE implements [key.StructuredSigner].
func (k *Key) SignDSSE(ctx context.Context, payloadType string, payload []byte) ([]byte, error) {
	return k.signMessage(ctx, dsse.PAE(payloadType, payload), k.Info().Algorithm.Hash())
}

// SignBlob implements [key.StructuredSigner].
func (k *Key) SignBlob(ctx context.Context, message []byte) ([]byte, error) {
	return k.signMessage(ctx, message, k.Info().Algorithm.Hash())
}

// SignSSHSIG implements [key.StructuredSigner].
func (k *Key) SignSSHSIG(ctx context.Context, namespace, hash string, digest []byte) ([]byte, error) {
	data, err := sshsig.SignedData(namespace, hash, digest)
	if err != nil {
		return nil, err
	}
	algorithm, sshHash, err := sshwire.Algorithm(k.software.Public(), crypto.SHA512)
	if err != nil {
		return nil, err
	}
	signature, err := k.signMessage(ctx, data, sshHash)
	if err != nil {
		return nil, err
	}
	return sshwire.EncodeSignature(k.software.Public(), algorithm, signature)
}

func (k *Key) signMessage(ctx context.Context, message []byte, hash crypto.Hash) ([]byte, error) {
	h := hash.New()
	h.Write(message)
	return k.software.SignContext(ctx, h.Sum(nil), hash)
}

// PEM is a public key as a SubjectPublicKeyInfo in PEM, as cosign reads it.
func PEM(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}
