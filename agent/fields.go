package agent

import (
	"crypto"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/internal/dsse"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

// checkFields demands exactly the fields of the form.
func (b *signRequestBody) checkFields() error {
	forms := []Form{FormSSHSIG, FormDSSE, FormBlob, FormDigest}
	if !slices.Contains(forms, b.Form) {
		return fmt.Errorf("form %.80q is unknown: %w", b.Form, key.ErrUsage)
	}
	for _, f := range []struct {
		name  string
		given bool
		forms []Form
	}{
		{"namespace", b.Namespace != "", []Form{FormSSHSIG}},
		{"hash", b.Hash != "", []Form{FormSSHSIG, FormDigest}},
		{"digest", b.Digest != nil, []Form{FormSSHSIG, FormDigest}},
		{"scheme", b.Scheme != "", []Form{FormDigest}},
		{"payload_type", b.PayloadType != "", []Form{FormDSSE}},
		{"payload", b.Payload != nil, []Form{FormDSSE}},
		{"message", b.Message != nil, []Form{FormBlob}},
	} {
		if wanted := slices.Contains(f.forms, b.Form); wanted != f.given {
			return fmt.Errorf("form %s: field %s is missing or does not belong there: %w", b.Form, f.name, key.ErrUsage)
		}
	}
	return nil
}

// signing works out what the device is to sign. The encode function makes the
// answer of the device's signature.
func (b *signRequestBody) signing(j *signing) (encode func([]byte) ([]byte, error), err error) {
	j.Form, j.Subject = FormUnrecognised, b.Subject
	if err := b.checkFields(); err != nil {
		return nil, err
	}
	j.Form = b.Form
	switch b.Form {
	case FormSSHSIG:
		return b.signSSHSIG(j)
	case FormDSSE:
		err = b.signDSSE(j)
	case FormBlob:
		err = b.signBlob(j)
	case FormDigest:
		err = b.signDigest(j)
	}
	return func(signature []byte) ([]byte, error) { return signature, nil }, err
}

func (b *signRequestBody) signSSHSIG(j *signing) (encode func([]byte) ([]byte, error), err error) {
	data, err := sshsig.SignedData(b.Namespace, b.Hash, b.Digest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, key.ErrUsage)
	}
	// ssh-keygen -Y signs with SHA-512 too.
	algorithm, hash, err := sshwire.Algorithm(j.Key.Public, crypto.SHA512)
	if err != nil {
		return nil, err
	}
	j.Namespace, j.Digest = b.Namespace, b.Hash+":"+hex.EncodeToString(b.Digest)
	j.setData(data, hash)
	return func(signature []byte) ([]byte, error) {
		return sshwire.EncodeSignature(j.Key.Public, algorithm, signature)
	}, nil
}

func (b *signRequestBody) signDSSE(j *signing) error {
	j.PayloadType = b.PayloadType
	if b.PayloadType == provenance.PayloadType { // others are refused later
		s, err := provenance.ParseStatement(b.Payload)
		if err != nil {
			return fmt.Errorf("%w: %w", err, key.ErrUsage)
		}
		j.Statement = s
	}
	j.setData(dsse.PAE(b.PayloadType, b.Payload), j.Key.Algorithm.Hash())
	_, j.Digest = sha256Of(b.Payload)
	return nil
}

func (b *signRequestBody) signBlob(j *signing) error {
	if len(b.Message) > limits.SignBlob {
		return hint.Wrap(fmt.Errorf("message of %d bytes, at most %d: %w", len(b.Message), limits.SignBlob, key.ErrUsage),
			"sign a statement about it, or use a key of usage digest")
	}
	_, j.Digest = sha256Of(b.Message)
	if shape, yes := sshwire.Resembles(b.Message); yes {
		return refuse(fmt.Sprintf("the message is a %s, not a plain message", shape))
	}
	j.setData(b.Message, j.Key.Algorithm.Hash())
	return nil
}

// hashes are the hashes of digests.
var hashes = map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}

func (b *signRequestBody) signDigest(j *signing) error {
	hash := hashes[b.Hash]
	if hash == 0 || len(b.Digest) != hash.Size() {
		return fmt.Errorf("digest of %d bytes for the hash %.80q: %w", len(b.Digest), b.Hash, key.ErrUsage)
	}
	j.Digest = b.Hash + ":" + hex.EncodeToString(b.Digest)
	j.digest, j.opts = b.Digest, hash
	isRSA := j.Key.Algorithm.RSA()
	switch {
	case b.Scheme == schemeECDSA && !isRSA, b.Scheme == schemeRSAPKCS1 && isRSA:
	case b.Scheme == schemeRSAPSS && isRSA:
		j.opts = &rsa.PSSOptions{Hash: hash, SaltLength: rsa.PSSSaltLengthEqualsHash}
	default:
		return fmt.Errorf("scheme %.80q for a %s key: %w", b.Scheme, j.Key.Algorithm, key.ErrUsage)
	}
	return nil
}

// setData has the device sign data by its hash.
func (j *signing) setData(data []byte, hash crypto.Hash) {
	h := hash.New()
	h.Write(data)
	j.digest, j.opts = h.Sum(nil), hash
	j.sum, _ = sha256Of(data)
}

// hashName is the inverse of hashes.
func hashName(h crypto.Hash) string { return strings.ReplaceAll(strings.ToLower(h.String()), "-", "") }
