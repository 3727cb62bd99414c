package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// digest computes the digest of a blob or manifest.
func digest(raw []byte) v1.Hash {
	sum := sha256.Sum256(raw)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// parseIndex reads an image index (image-spec image-index.md) or the Docker
// manifest list that it grew out of. Its errors wrap [ErrInvalid].
func parseIndex(raw []byte) (*v1.IndexManifest, error) {
	var index v1.IndexManifest
	err := parse(raw, &index, false, types.OCIImageIndex, types.DockerManifestList)
	if err != nil {
		return nil, err
	}
	return &index, checkDescriptors(index.Manifests)
}

// parseManifest reads an image manifest (image-spec manifest.md), of an image or
// of an artifact. Its errors wrap [ErrInvalid].
func parseManifest(raw []byte) (*v1.Manifest, error) {
	var m v1.Manifest
	err := parse(raw, &m, true, types.OCIManifestSchema1, types.DockerManifestSchema2)
	if err != nil {
		return nil, err
	}
	all := append([]v1.Descriptor{m.Config}, m.Layers...)
	if m.Subject != nil {
		all = append(all, *m.Subject)
	}
	return &m, checkDescriptors(all)
}

// parse decodes a document and refuses one that two readers could take for two
// things: a manifest with the fields of an index, or a media type of its own that
// is another one (CVE-2021-41190).
func parse(raw []byte, into any, manifest bool, mediaTypes ...types.MediaType) error {
	if len(raw) > limits.OCIManifest {
		return fmt.Errorf("manifest of %d bytes: %w", len(raw), ErrInvalid)
	}
	var kind struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return fmt.Errorf("manifest: %w: %s", ErrInvalid, said(err))
	}
	if kind.SchemaVersion != 2 {
		return fmt.Errorf("manifest of schema version %d: %w", kind.SchemaVersion, ErrInvalid)
	}
	if kind.MediaType != "" && !slices.Contains(mediaTypes, kind.MediaType) {
		return fmt.Errorf("manifest says it is %.80q, not %q: %w", kind.MediaType, mediaTypes[0], ErrInvalid)
	}
	if manifest && (kind.Config == nil || kind.Manifests != nil) ||
		!manifest && (kind.Manifests == nil || kind.Config != nil || kind.Layers != nil) {
		return fmt.Errorf("manifest does not have exactly the fields of %q: %w", mediaTypes[0], ErrInvalid)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("manifest: %w: %s", ErrInvalid, said(err))
	}
	return nil
}

// checkDescriptors refuses a list with a descriptor that has no digest or no
// size.
func checkDescriptors(list []v1.Descriptor) error {
	for _, d := range list {
		if d.Digest.Hex == "" || d.Size < 0 {
			return fmt.Errorf("descriptor with digest %.80q and size %d: %w", d.Digest, d.Size, ErrInvalid)
		}
	}
	return nil
}

// isSHA256 says whether we can compute the digest: there are others, and nobody
// uses them.
func isSHA256(h v1.Hash) bool { return h.Algorithm == "sha256" }
