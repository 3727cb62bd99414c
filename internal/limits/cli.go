package limits

const (
	// TrustFile is the largest file of trusted public keys: an allowed signers
	// file of some thousand people.
	TrustFile = 1 << 20
	// PrivateKeyFile is the largest file of a private key that is imported: an
	// RSA-4096 key of OpenSSH's takes 4 KiB.
	PrivateKeyFile = 16 << 10
	// Passphrase is the longest passphrase of such a file: OpenSSH takes 1024
	// bytes.
	Passphrase = 1 << 10
	// ReleaseFiles is how many files a release folder may hold: two bundles,
	// SHA256SUMS, and the signatures of some dozen people.
	ReleaseFiles = 100
	// SetUpFile is the largest file of a person's own (ssh's or git's configuration,
	// a shell's profile) that init reads and adds lines to.
	SetUpFile = 1 << 20
	// CommandError is how much is quoted of what a program that failed had to say.
	CommandError = 200
)
