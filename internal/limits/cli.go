package limits

const (
	// TrustFile is the largest file of trusted public keys: an allowed signers
	// file of some thousand people.
	TrustFile = 1 << 20
	// ReleaseFiles is how many files a release folder may hold: two bundles,
	// SHA256SUMS, and the signatures of some dozen people.
	ReleaseFiles = 100
)
