package provenance

import (
	"fmt"
	"strings"
)

// ImageSignatureType is the predicate type of an image signature as cosign 3
// makes it: an empty predicate; the signature itself is the message.
const ImageSignatureType = "https://sigstore.dev/cosign/sign/v1"

// ImageSignature is the statement that cosign 3 signs for an image: its one
// subject is the digest of the image's manifest or index, "sha256:HEX".
func ImageSignature(digest string) (*Statement, error) {
	hexDigest, found := strings.CutPrefix(digest, "sha256:")
	if !found {
		return nil, fmt.Errorf("%w: image digest %.200q is not sha256:HEX", ErrStatement, digest)
	}
	subject := Subject{Digest: map[string]string{"sha256": hexDigest}}
	return NewStatement([]Subject{subject}, ImageSignatureType, struct{}{})
}
