package sshwire

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/sshsig"
)

// Shape names what a blob to be signed is.
type Shape string

// What an SSH client, certificate authority or server may ask to sign.
const (
	ShapeUserAuth     Shape = "user-auth"
	ShapeSSHSIG       Shape = "sshsig"
	ShapeCertificate  Shape = "certificate"
	ShapeHostKeyProof Shape = "host-key-proof"
	ShapeExchangeHash Shape = "exchange-hash"
	ShapeUnrecognised Shape = "unrecognised"
)

// Signed is a recognised blob.
type Signed struct {
	Shape       Shape
	UserAuth    *UserAuth        // of ShapeUserAuth
	SSHSIG      sshsig.Message   // of ShapeSSHSIG
	Certificate *ssh.Certificate // of ShapeCertificate; it has no signature
}

// Classify says what data is, if the key with the public key blob key is to sign
// it with algorithm. A login counts only if it names that very key and
// algorithm, a certificate or proof of a host key only if it names that key. If
// nothing fits, the shape is unrecognised and the error says why.
func Classify(data, key []byte, algorithm string) (Signed, error) {
	s, err := classify(data, key, algorithm)
	if err != nil {
		return Signed{Shape: ShapeUnrecognised}, err
	}
	return s, nil
}

// classify is Classify, but for the shape of what is refused. What data resembles
// tells what it must be, so no data is ever two things.
func classify(data, key []byte, algorithm string) (s Signed, err error) {
	resembled, _ := Resembles(data)
	s.Shape = resembled
	switch resembled {
	case ShapeSSHSIG:
		s.SSHSIG, err = sshsig.ParseSignedData(data)
	case ShapeUserAuth:
		s.UserAuth, err = parseUserAuth(data, key, algorithm)
	case ShapeCertificate:
		s.Certificate, err = ParseCertificate(data)
		if err == nil && !bytes.Equal(s.Certificate.SignatureKey.Marshal(), key) {
			err = errors.New("certificate by another authority")
		}
	case ShapeHostKeyProof:
		var p *HostKeyProof
		p, err = ParseHostKeyProof(data)
		if err == nil && !bytes.Equal(p.HostKey, key) {
			err = errors.New("proof of another host key")
		}
	default:
		if resembled != "" || !isHash(data) {
			return s, errors.New("nothing that SSH has its keys sign")
		}
		s.Shape = ShapeExchangeHash
	}
	return s, err
}

// parseUserAuth demands a login with this very key and algorithm.
func parseUserAuth(data, key []byte, algorithm string) (*UserAuth, error) {
	u, err := ParseUserAuth(data)
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(u.Key, key):
		return nil, errors.New("login with another key")
	case u.Algorithm != algorithm:
		return nil, fmt.Errorf("login with algorithm %.80q, signature with %q", u.Algorithm, algorithm)
	}
	return u, nil
}

// isHash says whether data is as long as a hash of a key exchange, which a server
// signs bare (RFC 4253, section 8). An SSHSIG can have that length too, but no
// honest hash resembles one.
func isHash(data []byte) bool {
	lengths := []int{crypto.SHA256.Size(), crypto.SHA384.Size(), crypto.SHA512.Size()}
	return slices.Contains(lengths, len(data))
}
