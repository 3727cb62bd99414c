package sshsig

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
)

const (
	begin = "-----BEGIN SSH SIGNATURE-----\n"
	end   = "-----END SSH SIGNATURE-----"
	// keygenWidth is where ssh-keygen breaks the lines of its armor.
	keygenWidth = 70
)

// ErrInvalid is a well-formed signature that its key did not make over this
// message.
var ErrInvalid = errors.New("SSH signature does not match what was signed")

var strictBase64 = base64.StdEncoding.Strict()

// Signature is an SSH signature file (PROTOCOL.sshsig, section 2). Its namespace
// and hash are what the signer claims until [Signature.Verify] has succeeded.
type Signature struct {
	Namespace string
	Hash      string // "sha256" or "sha512"
	key       ssh.PublicKey
	signature *ssh.Signature
}

// New joins the answer of a key, an SSH signature blob (RFC 4253, section 6.6)
// over [SignedData], with what it was made for.
func New(pub crypto.PublicKey, namespace, hash string, signature []byte) (*Signature, error) {
	k, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	return assemble(k.Marshal(), namespace, hash, signature)
}

// assemble checks the fields of a signature.
func assemble(key []byte, namespace, hash string, signature []byte) (*Signature, error) {
	if err := CheckNamespace(namespace); err != nil {
		return nil, err
	}
	if _, err := NewHash(hash); err != nil {
		return nil, err
	}
	k, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	s, err := parseSignature(signature, k)
	if err != nil {
		return nil, err
	}
	return &Signature{Namespace: namespace, Hash: hash, key: k, signature: s}, nil
}

// PublicKey is the key that the signature names. It is the attacker's choice
// until it was compared with keys that count.
func (s *Signature) PublicKey() crypto.PublicKey { return cryptoKey(s.key) }

// Verify checks that the key that the signature names signed the digest, which
// was made with the signature's hash. Its errors wrap [ErrInvalid]. It says
// nothing about whose key that is.
func (s *Signature) Verify(digest []byte) error {
	data, err := SignedData(s.Namespace, s.Hash, digest)
	if err != nil {
		return err
	}
	if err := s.key.Verify(data, s.signature); err != nil {
		return ErrInvalid
	}
	return nil
}

// wireSignature is section 2 of PROTOCOL.sshsig.
type wireSignature struct {
	Magic     [len(magic)]byte
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// Marshal encodes the signature as a blob.
func (s *Signature) Marshal() []byte {
	return ssh.Marshal(wireSignature{
		Magic: [6]byte([]byte(magic)), Version: version,
		PublicKey: s.key.Marshal(), Namespace: s.Namespace, Hash: s.Hash,
		Signature: ssh.Marshal(s.signature),
	})
}

// Parse is the strict inverse of [Signature.Marshal]: it accepts exactly what
// Marshal makes, so a reserved field that is not empty is refused. Its errors
// wrap [ErrMalformed] or [ErrKey].
func Parse(b []byte) (*Signature, error) {
	if len(b) > limits.SSHSIG {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(b), limits.SSHSIG)
	}
	var w wireSignature
	if err := ssh.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	switch {
	case string(w.Magic[:]) != magic:
		return nil, fmt.Errorf("%w: no SSHSIG preamble", ErrMalformed)
	case w.Version != version:
		return nil, fmt.Errorf("%w: version %d", ErrMalformed, w.Version)
	case w.Reserved != "":
		return nil, fmt.Errorf("%w: reserved field of %d bytes", ErrMalformed, len(w.Reserved))
	}
	return assemble(w.PublicKey, w.Namespace, w.Hash, w.Signature)
}

// Armor encodes the signature as a file, the way ssh-keygen writes it.
func (s *Signature) Armor() []byte { return s.armor(keygenWidth) }

func (s *Signature) armor(width int) []byte {
	text := base64.StdEncoding.EncodeToString(s.Marshal())
	b := []byte(begin)
	for len(text) > width {
		b = append(append(b, text[:width]...), '\n')
		text = text[width:]
	}
	b = append(append(b, text...), '\n')
	return append(b, end+"\n"...)
}

// ParseArmored reads a signature file. Its lines may be of any length, but all of one:
// ssh-keygen breaks them at 70 characters, PROTOCOL.sshsig wants 76, and writers of PEM
// 64. Nothing may stand before or behind the armor, and the last line may lack its end.
// Errors wrap [ErrMalformed] or [ErrKey].
func ParseArmored(text []byte) (*Signature, error) {
	if len(text) > limits.SSHSIG {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(text), limits.SSHSIG)
	}
	body, found := bytes.CutPrefix(text, []byte(begin))
	if !found {
		return nil, fmt.Errorf("%w: file does not begin with %q", ErrMalformed, begin[:len(begin)-1])
	}
	body, found = bytes.CutSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"+end))
	if !found {
		return nil, fmt.Errorf("%w: file does not end with %q", ErrMalformed, end)
	}
	// The decoder skips line ends, wherever they are.
	b, err := strictBase64.DecodeString(string(body))
	if err != nil {
		return nil, fmt.Errorf("%w: base64: %v", ErrMalformed, err)
	}
	s, err := Parse(b)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(body, []byte("\n"))
	if len(line) == 0 || !bytes.HasPrefix(s.armor(len(line)), text) {
		return nil, fmt.Errorf("%w: lines of the armor are broken unevenly", ErrMalformed)
	}
	return s, nil
}
