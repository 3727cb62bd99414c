package sshwire

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/sealsmith/sealsmith/internal/dsse"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// What a message must not be, beside the shapes of [Classify].
const (
	ShapeDSSE Shape = "dsse"
	// ShapeOpenSSH is anything else that begins with a name of OpenSSH's.
	ShapeOpenSSH Shape = "openssh-object"
	// ShapeX509 is what an issuer or applicant signs: the body of a
	// certificate or certificate request.
	ShapeX509 Shape = "x509"
	// ShapeNote is a signed note, a log's checkpoint, or a witness's
	// cosignature (https://c2sp.org/signed-note, tlog-checkpoint,
	// tlog-cosignature).
	ShapeNote Shape = "signed-note"
)

const sshsigMagic = "SSHSIG"

// Resembles says whether a message begins like, or parses as, something that a
// signature would give a meaning of its own. It errs on the side of yes.
func Resembles(message []byte) (Shape, bool) {
	openSSH := resemblesOpenSSH(message)
	switch {
	case bytes.HasPrefix(message, []byte(sshsigMagic)):
		return ShapeSSHSIG, true
	case bytes.HasPrefix(message, []byte(dsse.Prefix)):
		return ShapeDSSE, true
	case resemblesUserAuth(message):
		return ShapeUserAuth, true
	case openSSH != "":
		return openSSH, true
	case resemblesX509(message):
		return ShapeX509, true
	case resemblesNote(message):
		return ShapeNote, true
	}
	return "", false
}

// resemblesUserAuth looks for a session id, the message number, and three
// strings, whatever they say and whatever follows.
func resemblesUserAuth(b []byte) bool {
	_, rest, ok := cutString(b)
	if !ok || len(rest) == 0 || rest[0] != msgUserAuthRequest {
		return false
	}
	rest = rest[1:]
	for range 3 {
		if _, rest, ok = cutString(rest); !ok {
			return false
		}
	}
	return true
}

// resemblesOpenSSH looks at the first string. All of OpenSSH's own objects begin
// with a name in its domain.
func resemblesOpenSSH(b []byte) Shape {
	name, _, _ := cutString(b)
	switch {
	case bytes.HasSuffix(name, []byte(certificateMark)):
		return ShapeCertificate
	case string(name) == hostKeyProof:
		return ShapeHostKeyProof
	case bytes.HasSuffix(name, []byte("@openssh.com")):
		return ShapeOpenSSH
	}
	return ""
}

// resemblesX509 looks for one DER sequence that begins as RFC 5280, section 4.1
// (an optional version, a serial number, an algorithm) or RFC 2986, section 4.1
// (a version, a name).
func resemblesX509(b []byte) bool {
	der := cryptobyte.String(b)
	var body, inner cryptobyte.String
	return der.ReadASN1(&body, asn1.SEQUENCE) && der.Empty() &&
		body.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) &&
		body.SkipASN1(asn1.INTEGER) &&
		body.ReadASN1(&inner, asn1.SEQUENCE)
}

func resemblesNote(b []byte) bool {
	if bytes.Contains(b, []byte("\n\n\u2014 ")) || bytes.HasPrefix(b, []byte("cosignature/")) {
		return true
	}
	lines := strings.SplitN(string(b[:min(len(b), limits.Checkpoint)]), "\n", 4)
	if len(lines) < 4 {
		return false
	}
	_, sizeErr := strconv.ParseUint(lines[1], 10, 64)
	hash, hashErr := base64.StdEncoding.DecodeString(lines[2])
	return sizeErr == nil && hashErr == nil && len(hash) == 32
}

// cutString takes an SSH string (RFC 4251, section 5) off the front.
func cutString(b []byte) (s, rest []byte, ok bool) {
	in := cryptobyte.String(b)
	var n uint32
	if !in.ReadUint32(&n) || uint64(n) > uint64(len(in)) {
		return nil, nil, false
	}
	return in[:n], in[n:], true
}
