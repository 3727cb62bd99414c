package sshsig

import (
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
)

const (
	magic   = "SSHSIG"
	version = 1
)

// ErrMalformed is wrapped by the errors of every parser for signatures and
// signed data.
var ErrMalformed = errors.New("malformed SSH signature")

// Message is what an SSHSIG signature says: that the digest, made with the hash
// "sha256" or "sha512", is meant for the namespace.
type Message struct {
	Namespace string
	Hash      string
	Digest    []byte
}

// NewHash starts the hash that an SSHSIG names.
func NewHash(name string) (hash.Hash, error) {
	switch name {
	case "sha256":
		return sha256.New(), nil
	case "sha512":
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("%w: unknown hash %.200q", ErrMalformed, name)
}

// CheckNamespace reports whether s can be a namespace: 1 to 255 printable ASCII
// characters. The format itself only forbids the empty one; the rest is refused
// because people read namespaces in prompts.
func CheckNamespace(s string) error {
	if s == "" || len(s) > limits.SSHNamespace {
		return fmt.Errorf("%w: namespace of %d bytes", ErrMalformed, len(s))
	}
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("%w: namespace %.200q is not printable ASCII", ErrMalformed, s)
		}
	}
	return nil
}

// signedData is section 3 of PROTOCOL.sshsig.
type signedData struct {
	Magic     [len(magic)]byte
	Namespace string
	Reserved  string
	Hash      string
	Digest    []byte
}

// SignedData is what a key signs (PROTOCOL.sshsig, section 3).
func SignedData(namespace, hash string, digest []byte) ([]byte, error) {
	if err := checkMessage(namespace, hash, digest); err != nil {
		return nil, err
	}
	return ssh.Marshal(signedData{Magic: [6]byte([]byte(magic)), Namespace: namespace, Hash: hash, Digest: digest}), nil
}

// ParseSignedData is the strict inverse of [SignedData]: it accepts exactly what
// SignedData makes, so a reserved field that is not empty is refused. Its errors
// wrap [ErrMalformed].
func ParseSignedData(b []byte) (Message, error) {
	var w signedData
	if err := ssh.Unmarshal(b, &w); err != nil {
		return Message{}, fmt.Errorf("%w: signed data: %v", ErrMalformed, err)
	}
	if string(w.Magic[:]) != magic {
		return Message{}, fmt.Errorf("%w: no SSHSIG preamble", ErrMalformed)
	}
	if w.Reserved != "" {
		return Message{}, fmt.Errorf("%w: reserved field of %d bytes", ErrMalformed, len(w.Reserved))
	}
	if err := checkMessage(w.Namespace, w.Hash, w.Digest); err != nil {
		return Message{}, err
	}
	return Message{Namespace: w.Namespace, Hash: w.Hash, Digest: w.Digest}, nil
}

func checkMessage(namespace, hash string, digest []byte) error {
	if err := CheckNamespace(namespace); err != nil {
		return err
	}
	h, err := NewHash(hash)
	if err != nil {
		return err
	}
	if len(digest) != h.Size() {
		return fmt.Errorf("%w: digest of %d bytes for %s", ErrMalformed, len(digest), hash)
	}
	return nil
}
