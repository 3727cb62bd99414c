package limits

import "time"

// Images and registries.
const (
	// OCIManifest is the size of a manifest or index that the distribution
	// specification tells registries to accept, and the largest that we read.
	OCIManifest = 4 << 20
	// OCIArtifact is the largest attached artifact: a Sigstore bundle.
	OCIArtifact = SigstoreBundle
	// OCISmallArtifact is up to which size artifacts are read before the
	// others. A signature of an image with a certificate, a log entry and
	// timestamps has about 15 KiB.
	OCISmallArtifact = 64 << 10
	// OCIArtifactManifest is the largest manifest of an artifact: a blob and
	// some annotations take about 1 KiB.
	OCIArtifactManifest = 64 << 10
	// OCIArtifacts is how many bytes of artifacts that are not small are read
	// in one search. One is in memory at a time.
	OCIArtifacts = 256 << 20
	// OCIResponse is the largest body of any registry answer. Layers are only
	// sent, never fetched, so the largest honest one is an artifact.
	OCIResponse = OCIArtifact
	// OCIResponseHeader is far above what registries send with a token
	// challenge or a signed storage URL.
	OCIResponseHeader = 64 << 10
	// OCIReferrers is how many referrers of one image are listed. Real images
	// have a handful per signer, but everybody who may push can add to them;
	// so many more take RegistryCall to open anyhow.
	OCIReferrers = 10_000
	// OCIReferrersInOrder is how many referrers can be opened within
	// RegistryCall even from far away; more are opened in a random order.
	OCIReferrersInOrder = 100
	// OCIReferrerPages ends a list whose pages never do: ten referrers a page.
	OCIReferrerPages = 1000
	// OCINamed is how many bad artifacts or signatures an error names; the
	// others are counted.
	OCINamed = 8
	// OCIPlatforms is how many images an index may name: each is fetched. The
	// largest official image has about twenty platforms.
	OCIPlatforms = 64
	// OCIRedirects is enough for registry, storage and a regional storage host.
	OCIRedirects = 4
	// OCIReference: 255 bytes for the host name, 255 for the repository, 128
	// for a tag and 71 for a digest.
	OCIReference = 768
	// OCIUploads is how many blobs are sent at once: enough to hide latency,
	// few enough for registries that count connections.
	OCIUploads = 4

	// RegistryCall bounds an operation on manifests and artifacts, retries
	// included, so that a slow drip ends.
	RegistryCall = 2 * time.Minute
	// RegistryIdle ends a connection on which no byte moves in either
	// direction. Registries commit a large blob to their storage in silence,
	// for up to a minute.
	RegistryIdle = 2 * time.Minute
	// RegistryDial bounds the connection to a registry, and its TLS handshake.
	RegistryDial = 15 * time.Second
	// RegistryTries is how often a request is sent that the registry could not
	// serve; RegistryRetryAfter is the longest wait that we let it ask for.
	RegistryTries      = 4
	RegistryRetryAfter = 30 * time.Second
	// AttachTries is how often an attachment is written again because another
	// writer replaced the fallback list at the same time.
	AttachTries = 8

	// GoBuild bounds one `go build` with an empty cache on a slow machine.
	GoBuild = 20 * time.Minute
)
