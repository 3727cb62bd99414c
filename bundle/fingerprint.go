package bundle

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" // for the pins of old lists
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
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

// fingerprintHashes are the hashes of fingerprints, by the names of a catalog's keys.
var fingerprintHashes = map[string]crypto.Hash{
	"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512,
}

// ParseFingerprint reads a fingerprint as people copy it from a vendor's page: the
// name of the hash, a colon, and hexadecimal digits in pairs with or without colons
// between them, in either case.
func ParseFingerprint(s string) (Fingerprint, error) {
	name, digits, _ := strings.Cut(s, ":")
	h, known := fingerprintHashes[name]
	if !known {
		return Fingerprint{}, fmt.Errorf("fingerprint %s has no hash; want HASH:HEX with one of sha1, sha256, sha384, sha512", quote(s))
	}
	if !strings.Contains(digits, ":") {
		if raw, err := hex.DecodeString(digits); err == nil {
			digits = colons(raw)
		}
	}
	return parseFingerprint(h, strings.ToUpper(digits))
}

// FingerprintOf is the digest of a certificate.
func FingerprintOf(h crypto.Hash, c *x509.Certificate) Fingerprint { return fingerprint(h, c.Raw) }

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
