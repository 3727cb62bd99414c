package sshwire

import (
	"bytes"
	"crypto"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// CertificateLine reads the certificate in a line of an OpenSSH -cert.pub file, as
// SSH encodes it, and the key that it is for. Who signed it is not looked at.
func CertificateLine(line []byte) (blob []byte, certified crypto.PublicKey, err error) {
	k, _, _, rest, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil, nil, fmt.Errorf("%w certificate: %v", ErrMalformed, err)
	}
	cert, ok := k.(*ssh.Certificate)
	if !ok || len(rest) > 0 {
		return nil, nil, fmt.Errorf("%w certificate: one line with a key of type %.80q", ErrMalformed, k.Type())
	}
	certified, err = ParseBlob(cert.Key.Marshal())
	return cert.Marshal(), certified, err
}

// AuthorizedKey encodes a public key as a line of OpenSSH's authorized_keys and
// .pub files (sshd(8)), ending in a newline. The comment must be one line; it may
// be empty. It fails for keys that SSH does not know.
func AuthorizedKey(pub crypto.PublicKey, comment string) ([]byte, error) {
	if strings.ContainsAny(comment, "\r\n\x00") {
		return nil, fmt.Errorf("comment %.80q is not one line", comment)
	}
	k, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode public key for SSH: %w", err)
	}
	line := bytes.TrimSuffix(ssh.MarshalAuthorizedKey(k), []byte("\n"))
	if comment != "" {
		line = append(append(line, ' '), comment...)
	}
	return append(line, '\n'), nil
}
