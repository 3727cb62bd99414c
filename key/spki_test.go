package key

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"testing"
)

// TestEncodePublic holds the encoding against the library's.
func TestEncodePublic(t *testing.T) {
	keys := []crypto.PublicKey{
		&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}, ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)),
		"no key",
	}
	for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		for range 20 { // with leading zeros, too
			k, err := ecdsa.GenerateKey(curve, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k.Public())
		}
	}
	for _, pub := range keys {
		want, wantErr := x509.MarshalPKIXPublicKey(pub)
		got, err := encodePublic(pub)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("%T: %x, %v; want %x, %v", pub, got, err, want, wantErr)
		}
	}
}
