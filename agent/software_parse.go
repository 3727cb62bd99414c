package agent

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// addedKey is a private key as a client sends it (RFC 9987; PROTOCOL.agent, section 1).
type addedKey struct {
	private     crypto.Signer // to be cleared by forgetPrivate
	public      ssh.PublicKey // the key, or its certificate
	comment     string
	constraints constraints
}

// parseAdded reads the body of a message that adds a key. What it returns shares no
// memory with the body. The private key was checked to be that of the public one.
func parseAdded(body []byte, constrained bool) (k *addedKey, err error) {
	var kind []byte
	rest, err := takeStrings(body, &kind)
	if err != nil {
		return nil, err
	}
	k = &addedKey{}
	defer func() {
		if err != nil && k != nil {
			forgetPrivate(k.private)
			k = nil
		}
	}()
	if rest, err = k.parse(string(kind), rest); err != nil {
		return k, err
	}
	var comment []byte
	if rest, err = takeStrings(rest, &comment); err != nil {
		return k, fmt.Errorf("comment: %w", err)
	}
	if len(comment) > limits.SoftwareComment {
		return k, fmt.Errorf("comment of %d bytes, at most %d", len(comment), limits.SoftwareComment)
	}
	k.comment = string(comment)
	if !constrained && len(rest) > 0 {
		return k, errors.New("trailing data")
	}
	k.constraints, err = parseConstraints(rest)
	return k, err
}

// takeStrings reads SSH strings, which share memory with data.
func takeStrings(data []byte, into ...*[]byte) (rest []byte, err error) {
	for _, s := range into {
		var m struct {
			String []byte
			Rest   []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(data, &m); err != nil {
			return nil, err
		}
		*s, data = m.String, m.Rest
	}
	return data, nil
}

// parse reads the fields of a key: of a certificate, that and what is private. The
// error of a pair that does not fit comes with the private key, to be forgotten.
func (k *addedKey) parse(kind string, data []byte) (rest []byte, err error) {
	plain, certified := strings.CutSuffix(kind, certificateMark)
	var cert *ssh.Certificate
	if certified {
		var blob []byte
		if data, err = takeStrings(data, &blob); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		cert = certificateOf(blob)
		if cert == nil || cert.Type() != kind || !bytes.Equal(cert.Marshal(), blob) {
			return nil, fmt.Errorf("the certificate is none of the type %.80q", kind)
		}
	}
	switch plain {
	case ssh.KeyAlgoED25519:
		rest, err = k.parseEd25519(data)
	case ssh.KeyAlgoECDSA256:
		rest, err = k.parseECDSA(data, elliptic.P256(), certified)
	case ssh.KeyAlgoECDSA384:
		rest, err = k.parseECDSA(data, elliptic.P384(), certified)
	case ssh.KeyAlgoECDSA521:
		rest, err = k.parseECDSA(data, elliptic.P521(), certified)
	case ssh.KeyAlgoRSA:
		rest, err = k.parseRSA(data, cert)
	default:
		return nil, fmt.Errorf("keys of the type %.80q are not supported", kind)
	}
	if err != nil {
		return nil, err
	}
	if k.public, err = ssh.NewPublicKey(k.private.Public()); err != nil {
		return nil, err
	}
	if cert != nil {
		if !bytes.Equal(cert.Key.Marshal(), k.public.Marshal()) {
			return nil, errors.New("the certificate is for another key")
		}
		k.public = cert
	}
	return rest, nil
}

func (k *addedKey) parseEd25519(data []byte) (rest []byte, err error) {
	var public, private []byte
	if rest, err = takeStrings(data, &public, &private); err != nil {
		return nil, err
	}
	if len(private) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("Ed25519 key of %d bytes", len(private))
	}
	whole := ed25519.NewKeyFromSeed(private[:ed25519.SeedSize])
	k.private = whole
	if !bytes.Equal(whole, private) || !bytes.Equal(whole.Public().(ed25519.PublicKey), public) {
		return nil, errors.New("private and public key do not belong together")
	}
	return rest, nil
}

func (k *addedKey) parseECDSA(data []byte, curve elliptic.Curve, certified bool) (rest []byte, err error) {
	var name, point, scalar []byte
	if !certified {
		if data, err = takeStrings(data, &name, &point); err != nil {
			return nil, err
		}
	}
	if rest, err = takeStrings(data, &scalar); err != nil {
		return nil, err
	}
	octets, err := positive(scalar, curve.Params().BitSize)
	if err != nil {
		return nil, err
	}
	padded := make([]byte, (curve.Params().BitSize+7)/8)
	defer clear(padded)
	copy(padded[len(padded)-len(octets):], octets)
	private, err := ecdsa.ParseRawPrivateKey(curve, padded)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	k.private = private
	if certified {
		return rest, nil
	}
	// "nistp256" is the end of "ecdsa-sha2-nistp256" (RFC 5656, section 3.1).
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	sent := ssh.Marshal(struct {
		Type        string
		Name, Point []byte
	}{public.Type(), name, point})
	if !bytes.Equal(public.Marshal(), sent) {
		return nil, errors.New("private and public key do not belong together")
	}
	return rest, nil
}

func (k *addedKey) parseRSA(data []byte, cert *ssh.Certificate) (rest []byte, err error) {
	var n, e, d, inverse, p, q []byte
	if cert == nil {
		if data, err = takeStrings(data, &n, &e); err != nil {
			return nil, err
		}
	}
	// The inverse follows from the rest.
	if rest, err = takeStrings(data, &d, &inverse, &p, &q); err != nil {
		return nil, err
	}
	private := &rsa.PrivateKey{}
	k.private = private
	if cert == nil {
		private.PublicKey, err = rsaPublic(n, e)
	} else {
		private.PublicKey, err = rsaOf(cert.Key)
	}
	if err != nil {
		return nil, err
	}
	bits := private.N.BitLen()
	if bits < limits.MinRSA || bits > limits.MaxRSA {
		return nil, fmt.Errorf("RSA key of %d bits, want %d to %d", bits, limits.MinRSA, limits.MaxRSA)
	}
	private.Primes = make([]*big.Int, 2)
	for _, x := range []struct {
		octets []byte
		into   **big.Int
	}{{d, &private.D}, {p, &private.Primes[0]}, {q, &private.Primes[1]}} {
		octets, err := positive(x.octets, bits)
		if err != nil {
			return nil, err
		}
		*x.into = new(big.Int).SetBytes(octets)
	}
	private.Precompute()
	if err := private.Validate(); err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return rest, nil
}

// rsaPublic makes a public key of two numbers as they stand in a message.
func rsaPublic(n, e []byte) (rsa.PublicKey, error) {
	public, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type string
		E, N []byte
	}{ssh.KeyAlgoRSA, e, n}))
	if err != nil {
		return rsa.PublicKey{}, err
	}
	return rsaOf(public)
}

func rsaOf(k ssh.PublicKey) (rsa.PublicKey, error) {
	if plain, ok := k.(ssh.CryptoPublicKey); ok {
		if public, ok := plain.CryptoPublicKey().(*rsa.PublicKey); ok {
			return *public, nil
		}
	}
	return rsa.PublicKey{}, fmt.Errorf("key of type %.80q is not RSA", k.Type())
}

// positive returns the octets of a positive number of at most so many bits (RFC
// 4251, section 5, mpint).
func positive(number []byte, bits int) ([]byte, error) {
	if len(number) > 0 && number[0]&0x80 != 0 {
		return nil, errors.New("negative number in a private key")
	}
	octets := bytes.TrimLeft(number, "\x00")
	if len(octets) == 0 || len(octets) > (bits+7)/8 {
		return nil, fmt.Errorf("number of %d bytes in a private key of %d bits", len(octets), bits)
	}
	return octets, nil
}

// forgetPrivate overwrites what we hold of a private key on the heap. The standard
// library's own copies of it live until they are collected.
func forgetPrivate(k crypto.Signer) {
	switch k := k.(type) {
	case ed25519.PrivateKey:
		clear(k)
	case *rsa.PrivateKey:
		numbers := append([]*big.Int{k.D, k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv}, k.Primes...)
		for _, n := range numbers {
			if n != nil {
				clear(n.Bits())
			}
		}
	case *ecdsa.PrivateKey:
		//lint:ignore SA1019 The number is not used, only overwritten.
		clear(k.D.Bits())
	}
}
