package sshwire

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sealsmith/sealsmith/internal/sshsig"
)

// Shape names what a blob to be signed is.
type Shape string

// What an SSH client may ask to sign.
const (
	ShapeUserAuth     Shape = "user-auth"
	ShapeSSHSIG       Shape = "sshsig"
	ShapeUnrecognised Shape = "unrecognised"
)

// Signed is a recognised blob.
type Signed struct {
	Shape    Shape
	UserAuth *UserAuth      // of ShapeUserAuth
	SSHSIG   sshsig.Message // of ShapeSSHSIG
}

// Classify says what data is, if the key with the public key blob key is to sign
// it with algorithm. A login counts only if it names that very key and
// algorithm. If nothing fits, the shape is unrecognised and the error says why.
func Classify(data, key []byte, algorithm string) (Signed, error) {
	unrecognised := Signed{Shape: ShapeUnrecognised}
	if bytes.HasPrefix(data, []byte(sshsigMagic)) {
		m, err := sshsig.ParseSignedData(data)
		if err != nil {
			return unrecognised, err
		}
		return Signed{Shape: ShapeSSHSIG, SSHSIG: m}, nil
	}
	u, err := ParseUserAuth(data)
	switch {
	case err != nil:
		return unrecognised, fmt.Errorf("neither a login nor a file signature: %w", err)
	case !bytes.Equal(u.Key, key):
		return unrecognised, errors.New("login with another key")
	case u.Algorithm != algorithm:
		return unrecognised, fmt.Errorf("login with algorithm %.80q, signature with %q", u.Algorithm, algorithm)
	}
	return Signed{Shape: ShapeUserAuth, UserAuth: u}, nil
}
