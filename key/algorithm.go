package key

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"strings"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// Algorithm names a kind of key by the text that people type: "p256".
type Algorithm string

// The algorithms that keys can be made for.
const (
	P256    Algorithm = "p256"
	P384    Algorithm = "p384"
	P521    Algorithm = "p521"
	RSA2048 Algorithm = "rsa2048"
	RSA3072 Algorithm = "rsa3072"
	RSA4096 Algorithm = "rsa4096"
)

// Algorithms lists the known algorithms, the default first.
var Algorithms = []Algorithm{P256, P384, P521, RSA2048, RSA3072, RSA4096}

// ParseAlgorithm accepts exactly the texts of [Algorithms]. Its error wraps
// [ErrUsage].
func ParseAlgorithm(s string) (Algorithm, error) {
	for _, a := range Algorithms {
		if s == string(a) {
			return a, nil
		}
	}
	return "", hint.Wrap(fmt.Errorf("unknown algorithm %.40q: %w", s, ErrUsage), "choose one of "+join(Algorithms))
}

// AlgorithmOf tells the algorithm of a public key. It fails with
// [ErrUnsupported] for keys of any other kind.
func AlgorithmOf(pub crypto.PublicKey) (Algorithm, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return P256, nil
		case elliptic.P384():
			return P384, nil
		case elliptic.P521():
			return P521, nil
		}
	case *rsa.PublicKey:
		switch k.N.BitLen() {
		case 2048:
			return RSA2048, nil
		case 3072:
			return RSA3072, nil
		case 4096:
			return RSA4096, nil
		}
	}
	return "", fmt.Errorf("key of type %T: %w", pub, ErrUnsupported)
}

// RSA says whether the algorithm is RSA; the others are ECDSA.
func (a Algorithm) RSA() bool { return a == RSA2048 || a == RSA3072 || a == RSA4096 }

// Hash is the hash that the algorithm signs with when the format leaves the
// choice to us: the curve's own for ECDSA, SHA-256 for RSA.
func (a Algorithm) Hash() crypto.Hash {
	switch a {
	case P384:
		return crypto.SHA384
	case P521:
		return crypto.SHA512
	}
	return crypto.SHA256
}

// join prints a list of text constants for a hint.
func join[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}
