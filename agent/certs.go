package agent

import (
	"bytes"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

// certificateMark ends the type of every certificate, and the name of every
// algorithm that one is used with.
const certificateMark = "-cert-v01@openssh.com"

// certificateOf parses a blob that is a certificate; nil if it is none. The
// certificate shares no memory with it.
func certificateOf(blob []byte) *ssh.Certificate {
	var kind []byte
	if _, err := takeStrings(blob, &kind); err != nil || !strings.HasSuffix(string(kind), certificateMark) {
		return nil
	}
	k, err := ssh.ParsePublicKey(bytes.Clone(blob))
	if err != nil {
		return nil
	}
	cert, _ := k.(*ssh.Certificate)
	return cert
}

// withCertificate lists a key and its certificate, unless the time of that is over: a
// server may know either.
func withCertificate(in key.Info, plain identity, now time.Time) []identity {
	blob := []byte(in.Certificate)
	cert := certificateOf(blob)
	if cert == nil || uint64(now.Unix()) >= cert.ValidBefore {
		return []identity{plain}
	}
	return []identity{plain, {blob, plain.Comment, plain.place}}
}

// idOf is the ID of the key with a public key blob, or which the certificate in the
// blob is for; mark is then what its algorithms' names end with. Any certificate
// will do, also one that is not listed (sshd sends its host certificate when a
// session is keyed anew): it adds nothing to what the key signs, as the data of a
// login must name the very same blob.
func idOf(blob []byte) (id key.ID, mark string, err error) {
	if cert := certificateOf(blob); cert != nil {
		blob, mark = cert.Key.Marshal(), certificateMark
	}
	pub, err := sshwire.ParseBlob(blob)
	if err != nil {
		return "", "", err
	}
	id, err = key.NewID(pub)
	return id, mark, err
}
