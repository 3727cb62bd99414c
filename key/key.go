package key

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// ID identifies a key on every backend: the lower-case hexadecimal SHA-256 of
// its DER SubjectPublicKeyInfo. It is also the key id in our DSSE envelopes.
type ID string

// NewID computes the ID of a public key. It fails for key types that have no
// SubjectPublicKeyInfo (anything but RSA, ECDSA and Ed25519).
func NewID(pub crypto.PublicKey) (ID, error) {
	spki, err := encodePublic(pub)
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(spki)
	return ID(hex.EncodeToString(sum[:])), nil
}

// Short returns the first 16 digits of the ID, for people.
func (id ID) Short() string {
	if len(id) < 16 {
		return string(id)
	}
	return string(id[:16])
}

// Info describes a key. It is a plain value: reading it never touches the
// device.
type Info struct {
	ID        ID
	Ref       Ref
	Algorithm Algorithm
	Usage     Usage
	Policy    Policy
	Comment   string
	Created   time.Time // here, by making or importing it; zero for a file of another program
	Public    crypto.PublicKey
	// Certificate is the OpenSSH certificate that stands beside the key: its octets
	// as SSH encodes it; empty if there is none. That it is for the key is all that
	// was checked.
	Certificate string
	// Imported says that the key was not made in its device, or may leave it:
	// copies may exist, and no attestation will say otherwise.
	Imported bool
	// Parent names what the key is bound to: for a TPM key the Name of its
	// storage key, in hexadecimal. Empty: not known.
	Parent string
}

// Policy is what must happen before a key signs.
type Policy struct {
	// PIN says that the device wants an auth value for each use.
	PIN bool
	// Uncounted says that the device does not count wrong auth values for the
	// key: its uses go on during a lockout, and a PIN of it can be guessed
	// without limit.
	Uncounted bool
	// Unattended says that the key was created to sign without a person: no
	// confirmation, and a PIN may be remembered. It is recorded with the key.
	Unattended bool
}

// Signer is a private key that stays in its device. Implementations are safe
// for concurrent use; signatures on one device are made one after the other.
type Signer interface {
	// Signer's Sign is SignContext with context.Background.
	crypto.Signer
	// SignContext signs a digest. The hash in opts must have the digest's
	// length; *rsa.PSSOptions selects PSS. ECDSA signatures are ASN.1 DER
	// (X9.62), RSA signatures are the raw octets.
	//
	// Cancelling ctx abandons the wait for the device and for the person; a
	// command that the device has begun is finished first. Errors wrap
	// [ErrDenied], [ErrNoDevice], [ErrUnsupported], [*PINError] or
	// [*LockoutError].
	SignContext(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)
	// Info describes the key without touching the device.
	Info() Info
}

// StructuredSigner signs only things it can recognise: the agent's remote keys
// implement it, so that a release key never signs a digest of unknown origin.
// Implementations are safe for concurrent use and return the errors of
// [Signer].
type StructuredSigner interface {
	// Info describes the key without touching the device.
	Info() Info
	// SignDSSE signs the DSSE pre-authentication encoding of a payload
	// (https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md)
	// with the hash of the key's algorithm, in the encoding of
	// [Signer.SignContext]; RSA keys sign with PKCS #1 v1.5.
	SignDSSE(ctx context.Context, payloadType string, payload []byte) ([]byte, error)
	// SignBlob hashes a whole message with the hash of the key's algorithm
	// and signs it, encoded like SignDSSE's answer. Messages that are really
	// something else (a login, a DSSE encoding, a certificate) are refused.
	SignBlob(ctx context.Context, message []byte) ([]byte, error)
	// SignSSHSIG signs an SSHSIG blob over digest, which was made with hash
	// ("sha256" or "sha512"). The answer is an SSH signature blob (RFC 4253,
	// section 6.6), as it stands in an SSHSIG file (OpenSSH PROTOCOL.sshsig).
	SignSSHSIG(ctx context.Context, namespace, hash string, digest []byte) ([]byte, error)
}

// AuthRequest says which key's secret a driver asks for.
type AuthRequest struct {
	Key Info
	// TriesLeft asks the device how many wrong secrets it will still take; -1
	// means that it does not count them. If it takes none, that is a
	// [*LockoutError].
	// It costs a device command, so it is for use before asking a person,
	// not before using a remembered secret.
	TriesLeft func(ctx context.Context) (int, error)
}

// AuthFunc lends the secret of a key to use, which must not keep it. It may
// call use again with another secret after use returned a [*PINError], and must
// never repeat a secret that was refused. It returns the error of the last use.
type AuthFunc func(ctx context.Context, r AuthRequest, use func(secret []byte) error) error

// LendFunc lends one secret to use, which must not keep it.
type LendFunc func(ctx context.Context, use func(secret []byte) error) error

// Backend is a device driver. Implementations are safe for concurrent use.
type Backend interface {
	// Name is the first part of its references, such as "tpm".
	Name() string
	// Keys lists the backend's keys. It does not touch the device. An error
	// stands for one key (or for the whole device) and does not end the list.
	Keys(ctx context.Context) iter.Seq2[Signer, error]
	// Close gives back every device resource.
	Close() error
}

// Creator is a [Backend] that can make keys.
type Creator interface {
	// Create makes a key inside the device and stores it durably before it
	// returns. It fails with [ErrExists] if the name is taken.
	Create(ctx context.Context, s Spec) (Signer, error)
}

// Importer is a [Backend] that takes keys which were made elsewhere.
type Importer interface {
	// Import brings the key of a file into the device and stores it durably
	// before it returns. It fails with [ErrExists] if the name is taken, with
	// [ErrForeign] if the file is for another device, and with
	// [ErrUnsupported] if the key is not one that the backend signs with.
	Import(ctx context.Context, s ImportSpec) (Signer, error)
}

// ImportSpec says what key to import. See [Importer].
type ImportSpec struct {
	Name       string // must satisfy [ValidName]
	Comment    string // one line for the public key file; empty means Name
	Unattended bool   // see [Policy]
	File       []byte // in the backend's format: for a TPM, a TSS2 PEM key file
}

// Validate reports whether name and comment are valid. Its errors wrap
// [ErrUsage].
func (s ImportSpec) Validate() error {
	if !ValidName(s.Name) {
		return badName(s.Name)
	}
	return checkComment(s.Comment)
}

// PINChanger is a [Backend] that can set, change and remove the PINs of its keys.
type PINChanger interface {
	// ChangePIN gives a key another PIN, its first one, or none; the new state
	// is durable before it returns, and until then the old one holds. Copies
	// of a key file that were made before keep their old PIN.
	ChangePIN(ctx context.Context, r Ref, c PINChange) error
}

// PINChange says how to change the PIN of a key.
type PINChange struct {
	// Old lends the PIN that the key has; nil asks the backend's [AuthFunc], if
	// the key has one.
	Old LendFunc
	// New lends the new PIN; nil removes it.
	New LendFunc
	// GuessableUnsafe allows a PIN on a key whose wrong PINs the device does
	// not count; see [Policy].
	GuessableUnsafe bool
}

// Validate reports whether the change makes sense for a key. Its errors wrap
// [ErrUsage].
func (c PINChange) Validate(in Info) error {
	switch {
	case c.New == nil && !in.Policy.PIN:
		return fmt.Errorf("the key has no PIN to remove: %w", ErrUsage)
	case c.Old != nil && !in.Policy.PIN:
		return hint.Wrap(fmt.Errorf("the key has no PIN, and one was given: %w", ErrUsage), "give only the new PIN")
	case c.New != nil && in.Usage == SSHHost:
		return errHostPIN
	case c.New != nil && in.Policy.Uncounted && !c.GuessableUnsafe:
		return hint.Wrap(fmt.Errorf("the device would not count wrong PINs of this key, so its PIN could be guessed: %w", ErrUsage),
			"whether they are counted is settled when a key is made: make a new one, with a PIN")
	}
	return nil
}

// errHostPIN is the error of a PIN where nobody can be asked.
var errHostPIN = hint.Wrap(fmt.Errorf("a PIN for a key of usage %s: %w", SSHHost, ErrUsage), "sshd has nobody to ask for it")

// Attester is a [Signer] whose device can prove that it holds the key.
type Attester interface {
	Signer
	// Attest returns evidence about the key as a JSON document
	// (docs/spec/evidence.md). The nonce, up to 32 octets, makes it fresh for
	// whoever chose it. A key with a PIN asks for it.
	Attest(ctx context.Context, nonce []byte) (evidence []byte, err error)
}

// Deleter is a [Backend] that can delete keys.
type Deleter interface {
	// Delete removes a key for ever. It fails with [ErrNotFound].
	Delete(ctx context.Context, r Ref) error
}

// Spec says what key to make. See [Creator].
type Spec struct {
	Name       string // must satisfy [ValidName]
	Usage      Usage
	Algorithm  Algorithm
	Comment    string // one line for the public key file; empty means Name
	Unattended bool   // see [Policy]
	// PIN lends the new key's secret; nil makes a key without one.
	PIN LendFunc
}

// Validate reports whether the Spec names a known usage, algorithm and a valid
// name. Its errors wrap [ErrUsage].
func (s Spec) Validate() error {
	if !ValidName(s.Name) {
		return badName(s.Name)
	}
	if _, err := ParseUsage(string(s.Usage)); err != nil {
		return err
	}
	if _, err := ParseAlgorithm(string(s.Algorithm)); err != nil {
		return err
	}
	if s.Usage == SSHHost && s.PIN != nil {
		return errHostPIN
	}
	return checkComment(s.Comment)
}
