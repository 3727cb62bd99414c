package bundle

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // for the pins of old lists
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"
)

// Fingerprint is a digest of a certificate's DER that a catalog pins.
type Fingerprint struct {
	Hash   crypto.Hash // SHA1, SHA256, SHA384 or SHA512
	Digest []byte
}

// parseFingerprint reads upper-case hexadecimal pairs joined by colons, the
// form that openssl x509 -fingerprint prints.
func parseFingerprint(h crypto.Hash, s string) (Fingerprint, error) {
	digest, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(digest) != h.Size() || colons(digest) != s {
		return Fingerprint{}, fmt.Errorf("%v fingerprint %s is not %d upper-case pairs of hexadecimal digits joined by colons",
			h, quote(s), h.Size())
	}
	return Fingerprint{h, digest}, nil
}

func fingerprint(h crypto.Hash, der []byte) Fingerprint {
	w := h.New()
	w.Write(der)
	return Fingerprint{h, w.Sum(nil)}
}

// Matches says whether the certificate has this digest.
func (f Fingerprint) Matches(der []byte) bool {
	return bytes.Equal(fingerprint(f.Hash, der).Digest, f.Digest)
}

// String is the digest in the form of the catalog.
func (f Fingerprint) String() string { return colons(f.Digest) }

// colons writes AB:CD:….
func colons(b []byte) string {
	const digits = "0123456789ABCDEF"
	out := make([]byte, 0, 3*len(b))
	for i, c := range b {
		if i > 0 {
			out = append(out, ':')
		}
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}
