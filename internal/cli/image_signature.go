package cli

import (
	"time"

	"github.com/sealsmith/sealsmith/oci"
	"github.com/sealsmith/sealsmith/provenance"
)

// sigstoreBundleType is the media type of a Sigstore bundle, and the type of the
// artifact that holds one.
const sigstoreBundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// signatureArtifact is an image signature as cosign 3 attaches and finds it
// (https://github.com/sigstore/cosign/blob/v3.1.3/specs/BUNDLE_SPEC.md).
func signatureArtifact(bundleJSON []byte, at time.Time) oci.Artifact {
	return oci.Artifact{
		Type:      sigstoreBundleType,
		MediaType: sigstoreBundleType,
		Annotations: map[string]string{
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": provenance.ImageSignatureType,
			"org.opencontainers.image.created":  at.UTC().Format(time.RFC3339),
		},
		Data: bundleJSON,
	}
}
