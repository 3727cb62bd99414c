package limits

// Bounds on signatures and what is signed.
const (
	// SSHSIG is the longest SSHSIG file, armored. The longest honest one, of a
	// 16,384-bit RSA key, has about 6 KiB.
	SSHSIG = 16 << 10
	// SSHNamespace is the longest SSHSIG namespace, in bytes. Namespaces are
	// words or NAME@DOMAIN, and a domain has at most 253 bytes.
	SSHNamespace = 255
	// CertPrincipals is how many principals an SSH certificate may name, as in
	// OpenSSH.
	CertPrincipals = 256
	// CertPrincipal is the longest principal, in bytes: a host name.
	CertPrincipal = 255
	// CertKeyID is the longest key id of an SSH certificate, in bytes: a line
	// in sshd's log.
	CertKeyID = 1024
	// MinCertNonce and CertNonce bound the nonce of an SSH certificate, in
	// bytes: PROTOCOL.certkeys says typically 16 or 32.
	MinCertNonce = 16
	CertNonce    = 64
	// CertOptions and CertOptionText bound the critical options and extensions
	// of an SSH certificate, in number and bytes: OpenSSH has ten, and a
	// forced command may be long.
	CertOptions    = 64
	CertOptionText = 8 << 10
	// CertTime is the last second of the year 9999, after which nobody can
	// read dates.
	CertTime = 253402300799
	// AllowedSigners is the longest allowed signers or public key file:
	// thousands of signers.
	AllowedSigners = 1 << 20
	// Links is how many symbolic links are followed to a trust file, as in
	// Linux: links may make a circle.
	Links = 40
	// CheckedFolder is how many files and folders, at any depth, are compared
	// with a trust file. A release has a dozen.
	CheckedFolder = 10_000
	// MinRSA is the shortest RSA key that counts, in bits (NIST SP 800-131A).
	MinRSA = 2048
	// MaxRSA is the longest, in bits, that OpenSSH makes.
	MaxRSA = 16384
	// SignersNamed is how many signatures that do not count are named in an error:
	// one line is read, and a folder may hold a hundred files.
	SignersNamed = 3
	// Statement is the longest in-toto statement, in bytes: what the agent
	// signs.
	Statement = DSSEPayload
	// StatementSubjects is what sigstore-go accepts.
	StatementSubjects = 1024
	// StatementDepth is how deep a statement's JSON may nest. SLSA provenance
	// needs about eight levels.
	StatementDepth = 32
	// SigstoreBundle is the longest Sigstore bundle, in bytes: a statement in
	// base64, the rest of the envelope and log entries that we ignore.
	SigstoreBundle = 6 << 20
	// PredicateType is the longest predicate type, in bytes: a URI.
	PredicateType = 1024
)
