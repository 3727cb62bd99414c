package sshwire

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// What [PrivateKey] says of an encrypted key.
var (
	ErrPassphrase      = errors.New("private key is encrypted with a passphrase")
	ErrWrongPassphrase = errors.New("wrong passphrase")
)

// privateLabel ends the PEM type of every private key.
const privateLabel = "PRIVATE KEY"

// PrivateKey parses a file with one private key: OpenSSH's own form, or PKCS #1, SEC
// 1 or PKCS #8 in PEM, among other text and blocks. Without the passphrase of an
// encrypted one it fails with [ErrPassphrase], with another one, if that can be
// told, with [ErrWrongPassphrase]. What this copies of the key is overwritten; what
// the libraries copy, and the key that is returned, is not.
func PrivateKey(data, passphrase []byte) (crypto.Signer, error) {
	block, err := privateBlock(data)
	if err != nil {
		return nil, err
	}
	defer clear(block.Bytes)
	if block.Type == "ENCRYPTED "+privateLabel {
		return nil, hint.Wrap(errors.New("PKCS #8 with a passphrase is not supported"),
			"openssl decrypts it, and no file need ever hold it: openssl pkey -in FILE | sealsmith key import NAME - --usage USAGE")
	}
	parsed, err := parsePrivate(block, passphrase)
	if err != nil {
		return nil, err
	}
	switch k := parsed.(type) {
	case *ed25519.PrivateKey:
		return *k, nil
	case *ecdsa.PrivateKey:
		if err := checkHalves(k, block, passphrase); err != nil {
			return nil, err
		}
		return k, nil
	case crypto.Signer:
		return k, nil
	}
	return nil, fmt.Errorf("private key of type %T does not sign", parsed)
}

// privateBlock finds the one block that is a private key.
func privateBlock(data []byte) (*pem.Block, error) {
	var found *pem.Block
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if !strings.HasSuffix(block.Type, privateLabel) {
			continue // the parameters of a curve, a certificate
		}
		if found != nil {
			clear(found.Bytes)
			clear(block.Bytes)
			return nil, errors.New("the file has more than one private key")
		}
		found = block
	}
	if found == nil {
		return nil, hint.Wrap(errors.New("the file has no private key in PEM"),
			"give the private key, not its public half or certificate; openssl turns DER into PEM: openssl pkey -inform DER -in FILE | sealsmith key import NAME - --usage USAGE")
	}
	return found, nil
}

func parsePrivate(block *pem.Block, passphrase []byte) (any, error) {
	one := pem.EncodeToMemory(block)
	defer clear(one)
	parsed, err := ssh.ParseRawPrivateKey(one)
	if _, encrypted := errors.AsType[*ssh.PassphraseMissingError](err); encrypted {
		if passphrase == nil {
			return nil, ErrPassphrase
		}
		parsed, err = ssh.ParseRawPrivateKeyWithPassphrase(one, passphrase)
		// The old form, which has headers, often takes a wrong passphrase and then
		// finds noise.
		if err != nil && (len(block.Headers) > 0 || errors.Is(err, x509.IncorrectPasswordError)) {
			return nil, fmt.Errorf("%w: %w", ErrWrongPassphrase, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return parsed, nil
}

// pkcs8 and sec1 are the private keys of RFC 5208 and RFC 5915.
type (
	pkcs8 struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}
	sec1 struct {
		Version    int
		PrivateKey []byte
		Curve      asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
		Public     asn1.BitString        `asn1:"optional,explicit,tag:1"`
	}
)

// checkHalves compares the public key that a file has beside an ECDSA key, if it has
// one, as crypto/x509 does not: without that, damage makes another key.
func checkHalves(k *ecdsa.PrivateKey, block *pem.Block, passphrase []byte) error {
	der := block.Bytes
	//lint:ignore SA1019 keys of this form exist.
	if x509.IsEncryptedPEMBlock(block) {
		var err error
		//lint:ignore SA1019 as above.
		if der, err = x509.DecryptPEMBlock(block, passphrase); err != nil {
			return err
		}
		defer clear(der)
	}
	var outer pkcs8
	if _, err := asn1.Unmarshal(der, &outer); err == nil {
		defer clear(outer.PrivateKey)
		der = outer.PrivateKey
	}
	var inner sec1
	_, err := asn1.Unmarshal(der, &inner)
	defer clear(inner.PrivateKey)
	if err != nil || inner.Public.BitLength == 0 { // OpenSSH's form, which was compared, or no public key
		return nil
	}
	whole, err := k.PublicKey.Bytes()
	if err != nil {
		return err
	}
	if short := elliptic.MarshalCompressed(k.Curve, k.X, k.Y); !bytes.Equal(inner.Public.Bytes, whole) && !bytes.Equal(inner.Public.Bytes, short) {
		return hint.Wrap(errors.New("private key: the public key in the file is that of another: the file is damaged"), "restore the file from a backup")
	}
	return nil
}
