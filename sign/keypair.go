package sign

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	sgsign "github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/sealsmith/sealsmith/internal/dsse"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// Key is a key to sign with: a [key.StructuredSigner], which is handed whole
// messages and statements, or a [key.Signer] of usage digest.
type Key interface {
	// Info describes the key without touching the device.
	Info() key.Info
}

// Keypair is a hardware key as sigstore-go wants it. It is safe for concurrent
// use if the key is.
type Keypair struct {
	info    key.Info
	sign    func(ctx context.Context, data, digest []byte) ([]byte, error)
	details signature.AlgorithmDetails
	spki    []byte
}

var _ sgsign.Keypair = (*Keypair)(nil)

// NewKeypair makes a keypair of a key. It fails with [key.ErrNotAllowed] for a
// [key.Signer] whose usage is not digest, and with [key.ErrUnsupported] for
// public keys that Sigstore has no algorithm for.
func NewKeypair(k Key) (*Keypair, error) {
	p := &Keypair{info: k.Info()}
	var err error
	if p.spki, err = x509.MarshalPKIXPublicKey(p.info.Public); err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	if p.details, err = signature.GetDefaultAlgorithmDetails(p.info.Public); err != nil {
		return nil, fmt.Errorf("key %q: %v: %w", p.info.Ref, err, key.ErrUnsupported)
	}
	switch k := k.(type) {
	case key.StructuredSigner:
		p.sign = func(ctx context.Context, data, _ []byte) ([]byte, error) { return signData(ctx, k, data) }
	case key.Signer:
		if p.info.Usage != key.Digest {
			return nil, fmt.Errorf("key %q of usage %s signs no digests: %w", p.info.Ref, p.info.Usage, key.ErrNotAllowed)
		}
		p.sign = func(ctx context.Context, _, digest []byte) ([]byte, error) {
			return k.SignContext(ctx, digest, p.details.GetHashType())
		}
	default:
		return nil, fmt.Errorf("key %q of type %T: %w", p.info.Ref, k, key.ErrUnsupported)
	}
	return p, nil
}

// signData has a key sign data for what it is.
func signData(ctx context.Context, k key.StructuredSigner, data []byte) ([]byte, error) {
	if payloadType, payload, err := dsse.ParsePAE(data); err == nil {
		return k.SignDSSE(ctx, payloadType, payload)
	}
	if len(data) > limits.SignBlob {
		return nil, tooLong()
	}
	return k.SignBlob(ctx, data)
}

func tooLong() error {
	return hint.Wrap(fmt.Errorf("message of more than %d bytes: %w", limits.SignBlob, key.ErrNotAllowed),
		"sign a statement or a file of checksums about it, or use a key of usage digest")
}

// SignData implements sigstore-go's Keypair: it returns the signature over data
// and data's digest.
func (p *Keypair) SignData(ctx context.Context, data []byte) (sig, digest []byte, err error) {
	h := p.details.GetHashType().New()
	h.Write(data)
	return p.signDigest(ctx, data, h.Sum(nil))
}

// signDigest signs and checks the answer; data may be nil for digest keys.
func (p *Keypair) signDigest(ctx context.Context, data, digest []byte) (sig, _ []byte, err error) {
	if sig, err = p.sign(ctx, data, digest); err != nil {
		return nil, nil, err // it names the key
	}
	if !valid(p.info.Public, p.details.GetHashType(), digest, sig) {
		return nil, nil, faulty(p.info.Ref)
	}
	return sig, digest, nil
}

// errFaulty is a key whose answer is no signature by it.
var errFaulty = errors.New("the key's answer is not a signature by it")

func faulty(r key.Ref) error { return fmt.Errorf("key %q: %w", r, errFaulty) }

func valid(pub crypto.PublicKey, hash crypto.Hash, digest, sig []byte) bool {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, digest, sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, hash, digest, sig) == nil
	}
	return false
}

// GetHashAlgorithm implements sigstore-go's Keypair.
func (p *Keypair) GetHashAlgorithm() protocommon.HashAlgorithm { return p.details.GetProtoHashType() }

// GetSigningAlgorithm implements sigstore-go's Keypair.
func (p *Keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	return p.details.GetSignatureAlgorithm()
}

// GetHint implements sigstore-go's Keypair. The hint is the one that cosign
// writes: the SHA-256 of the SubjectPublicKeyInfo, in base64.
func (p *Keypair) GetHint() []byte {
	sum := sha256.Sum256(p.spki)
	return []byte(base64.StdEncoding.EncodeToString(sum[:]))
}

// GetKeyAlgorithm implements sigstore-go's Keypair.
func (p *Keypair) GetKeyAlgorithm() string {
	if p.info.Algorithm.RSA() {
		return "RSA"
	}
	return "ECDSA"
}

// GetPublicKey implements sigstore-go's Keypair.
func (p *Keypair) GetPublicKey() crypto.PublicKey { return p.info.Public }

// GetPublicKeyPem implements sigstore-go's Keypair.
func (p *Keypair) GetPublicKeyPem() (string, error) {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: p.spki})), nil
}
