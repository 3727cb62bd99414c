package tpm

import (
	"context"
	"errors"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/cryptobyte"
)

// Seed returns the encrypted seed of an importable key file.
func Seed(pem []byte) ([]byte, error) {
	k, err := parseKeyFile(pem)
	if err != nil {
		return nil, err
	}
	seed, ok := sized(cryptobyte.String(k.secret))
	if !ok {
		return nil, errors.New("no seed")
	}
	return seed, nil
}

// StorageOf asks the device of a backend for its storage key.
func StorageOf(ctx context.Context, b *Backend) (Storage, error) { return b.device.Storage(ctx) }

// HasDescription says whether a key file has one.
func HasDescription(pem []byte) bool {
	k, err := parseKeyFile(pem)
	return err != nil || k.description != nil
}

// ImportableFile makes a key file of what a TPM duplicated.
func ImportableFile(rsaParent bool, public, private, seed []byte) []byte {
	yes := true
	data, err := (&keyFile{
		kind: oidImportable, emptyAuth: &yes, parent: ownerHierarchy, rsaParent: &rsaParent,
		public: public, private: private,
		secret: tpm2.Marshal(tpm2.TPM2BEncryptedSecret{Buffer: seed}),
	}).encode()
	if err != nil {
		panic(err)
	}
	return data
}
