package sign

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	sgsign "github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

// Blob signs what r holds and returns a Sigstore bundle (v0.3, JSON, a final
// newline) with a message signature. A [key.StructuredSigner] takes up to 1 MiB,
// a digest key any length. Errors are those of [NewKeypair] and of the key.
func Blob(ctx context.Context, k Key, r io.Reader) ([]byte, error) {
	p, err := NewKeypair(k)
	if err != nil {
		return nil, err
	}
	if _, structured := k.(key.StructuredSigner); !structured {
		h := p.details.GetHashType().New()
		if _, err := io.Copy(h, r); err != nil {
			return nil, fmt.Errorf("read what to sign: %w", err)
		}
		return bundle(ctx, &sgsign.PlainData{}, hashed{p, h.Sum(nil)})
	}
	data, err := io.ReadAll(io.LimitReader(r, limits.SignBlob+1))
	if err != nil {
		return nil, fmt.Errorf("read what to sign: %w", err)
	}
	return bundle(ctx, &sgsign.PlainData{Data: data}, p)
}

// Statement signs an in-toto statement, byte for byte, and returns a Sigstore
// bundle (v0.3, JSON, a final newline) with a DSSE envelope. The statement must
// satisfy [provenance.ParseStatement].
func Statement(ctx context.Context, k Key, statement []byte) ([]byte, error) {
	if _, err := provenance.ParseStatement(statement); err != nil {
		return nil, err
	}
	p, err := NewKeypair(k)
	if err != nil {
		return nil, err
	}
	return bundle(ctx, &sgsign.DSSEData{Data: statement, PayloadType: provenance.PayloadType}, p)
}

// hashed is a keypair that signs one digest, whatever data it is given: so a
// digest key signs a file that does not fit into memory.
type hashed struct {
	*Keypair
	digest []byte
}

// SignData implements sigstore-go's Keypair.
func (h hashed) SignData(ctx context.Context, _ []byte) (sig, digest []byte, err error) {
	return h.signDigest(ctx, nil, h.digest)
}

// bundle signs content and encodes the bundle. Without providers in its options,
// sigstore-go contacts nobody.
func bundle(ctx context.Context, content sgsign.Content, p sgsign.Keypair) ([]byte, error) {
	b, err := sgsign.Bundle(content, p, sgsign.BundleOptions{Context: ctx})
	if err != nil {
		return nil, err
	}
	text, err := protojson.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode Sigstore bundle: %w", err)
	}
	// protojson varies its blanks on purpose.
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil, fmt.Errorf("encode Sigstore bundle: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// CosignWarning tells what users of cosign 3 need to know about bundles by a
// key, or returns "": cosign verifies P-384 and P-521 signatures only with a hidden
// flag (https://github.com/sigstore/cosign/issues/5091).
func CosignWarning(a key.Algorithm) string {
	hash := map[key.Algorithm]string{key.P384: "sha384", key.P521: "sha512"}[a]
	if hash == "" {
		return ""
	}
	return fmt.Sprintf("cosign 3 verifies signatures by %s keys only with --signature-digest-algorithm %s; prefer a P-256 key", a, hash)
}
