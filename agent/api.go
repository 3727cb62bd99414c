package agent

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// The JSON of the control API; docs/spec/control-api.md is its contract.

// DeviceStatus is what GET /v1/device answers.
type DeviceStatus struct {
	Device string          `json:"device"`
	Status json.RawMessage `json:"status"` // as the driver describes it
}

type errorAnswer struct {
	Error wireError `json:"error"`
}

// keyAnswer describes a key.
type keyAnswer struct {
	ID          key.ID        `json:"id"`
	Ref         string        `json:"ref"`
	Usage       key.Usage     `json:"usage"`
	Algorithm   key.Algorithm `json:"algorithm"`
	PIN         bool          `json:"pin"`
	Uncounted   bool          `json:"uncounted"` // the device does not count wrong PINs
	Unattended  bool          `json:"unattended"`
	Imported    bool          `json:"imported"` // copies may exist outside the device
	Parent      string        `json:"parent,omitempty"`
	Comment     string        `json:"comment"`
	Created     time.Time     `json:"created,omitzero"`
	Public      []byte        `json:"public"` // DER SubjectPublicKeyInfo
	Fingerprint string        `json:"fingerprint"`
}

func newKeyAnswer(in key.Info) (keyAnswer, error) {
	der, err := x509.MarshalPKIXPublicKey(in.Public)
	if err != nil {
		return keyAnswer{}, fmt.Errorf("encode key %s: %w", in.Ref, err)
	}
	blob, err := sshwire.Blob(in.Public)
	if err != nil {
		return keyAnswer{}, fmt.Errorf("encode key %s: %w", in.Ref, err)
	}
	return keyAnswer{
		ID: in.ID, Ref: in.Ref.String(), Usage: in.Usage, Algorithm: in.Algorithm,
		PIN: in.Policy.PIN, Uncounted: in.Policy.Uncounted, Unattended: in.Policy.Unattended,
		Imported: in.Imported, Parent: in.Parent, Comment: in.Comment,
		Created: in.Created.UTC(), Public: der, Fingerprint: sshwire.Fingerprint(blob),
	}, nil
}

// info is the inverse of newKeyAnswer. It checks that the ID is the key's.
func (a keyAnswer) info() (key.Info, error) {
	pub, err := x509.ParsePKIXPublicKey(a.Public)
	if err != nil {
		return key.Info{}, fmt.Errorf("public key of %.200q: %w", a.Ref, err)
	}
	if id, err := key.NewID(pub); err != nil || id != a.ID {
		return key.Info{}, fmt.Errorf("id of %.200q is not its public key's", a.Ref)
	}
	ref, err := key.ParseRef(a.Ref)
	if err != nil {
		return key.Info{}, err
	}
	return key.Info{
		ID: a.ID, Ref: ref, Usage: a.Usage, Algorithm: a.Algorithm, Comment: a.Comment, Created: a.Created, Public: pub,
		Policy:   key.Policy{PIN: a.PIN, Uncounted: a.Uncounted, Unattended: a.Unattended},
		Imported: a.Imported, Parent: a.Parent,
	}, nil
}

type listAnswer struct {
	Keys   []keyAnswer `json:"keys"`
	Errors []wireError `json:"errors"` // of keys and devices that cannot be listed
}

type createRequest struct {
	Name       string    `json:"name"`
	Usage      string    `json:"usage"`
	Algorithm  string    `json:"algorithm"`
	Comment    string    `json:"comment,omitempty"`
	Unattended bool      `json:"unattended,omitempty"`
	PIN        pinSource `json:"pin"`
	Secret     string    `json:"secret,omitempty"` // of pinSecret
}

// pinRequest asks for another PIN of a key.
type pinRequest struct {
	Ref             string    `json:"ref,omitempty"` // which of several files with the key
	Old             pinSource `json:"old"`
	OldSecret       string    `json:"old_secret,omitempty"` // of pinSecret
	New             pinSource `json:"new"`
	NewSecret       string    `json:"new_secret,omitempty"` // of pinSecret
	GuessableUnsafe bool      `json:"guessable_unsafe,omitempty"`
}

// pinSource says where a PIN comes from.
type pinSource string

const (
	pinNone   pinSource = "none"
	pinPrompt pinSource = "prompt" // the agent asks
	pinSecret pinSource = "secret" // POST /v1/secrets
)

type secretAnswer struct {
	Secret string `json:"secret"`
}

// signRequestBody is a request to sign; checkFields says which fields a
// form has.
type signRequestBody struct {
	Form        Form   `json:"form"`
	Namespace   string `json:"namespace,omitempty"`
	Hash        string `json:"hash,omitempty"` // sha256, sha384, sha512
	Digest      []byte `json:"digest,omitzero"`
	Scheme      scheme `json:"scheme,omitempty"`
	PayloadType string `json:"payload_type,omitempty"`
	Payload     []byte `json:"payload,omitzero"`
	Message     []byte `json:"message,omitzero"`
	Subject     string `json:"subject,omitempty"`
}

// scheme is a signature scheme.
type scheme string

const (
	schemeECDSA    scheme = "ecdsa"
	schemeRSAPKCS1 scheme = "rsa-pkcs1"
	schemeRSAPSS   scheme = "rsa-pss" // the salt is as long as the hash
)

type signAnswer struct {
	Signature []byte `json:"signature"`
}
