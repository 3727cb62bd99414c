package limits

import "time"

// Sizes of what package bundle reads.
const (
	// BundleCertificate: the largest CA certificate of a vendor has 2 kB;
	// PEM adds a third and some sites put text around it.
	BundleCertificate = 64 << 10
	// BundleCatalog is the limit of the community's validator, enough for
	// 10,000 entries; ours has 56 kB.
	BundleCatalog = 5 << 20
	// BundleFile is four times what the 1,671 CA certificates of the largest
	// known collection take.
	BundleFile = 16 << 20
	// BundleSums: a line has about 100 bytes and a release a few files.
	BundleSums = 64 << 10
	// BundleUnpinned: years of what vendors re-issue in place, and little of what a
	// site that serves another certificate each time could fill.
	BundleUnpinned = 1000
	// BundleProblems is how many lines of a file are said to be wrong: one mistake
	// may touch all of them.
	BundleProblems = 10
	// BundleText bounds a name or URL; the longest in use has 98 bytes.
	BundleText = 500
)

// How certificates are fetched.
const (
	// BundleWorkersPerHost keeps one vendor's site from seeing us as an
	// attack; 88 of our URLs are on one host.
	BundleWorkersPerHost = 16
	// BundleWorkers: beyond it, two cores gain nothing.
	BundleWorkers = 32
	// BundleStall is how long a server may show no sign of life.
	BundleStall = 5 * time.Second
	// BundleAttempt bounds one request that never quite stalls.
	BundleAttempt = 20 * time.Second
	// BundleRetrying bounds all attempts for one certificate.
	BundleRetrying = time.Minute
	// BundleFetch bounds the whole job, however many hosts misbehave.
	BundleFetch = 10 * time.Minute
	// BundleTries includes the first: servers that recover do so soon.
	BundleTries = 4
	// BundleTimeouts includes the first: a second timeout of BundleStall
	// means that the host is down.
	BundleTimeouts = 2
	// BundleRetryAfter is the longest wait that a server may ask for.
	BundleRetryAfter = 30 * time.Second
	// BundleBackoff is the first wait between attempts; it grows by half.
	BundleBackoff = 250 * time.Millisecond
	// BundleRedirects: one to a new path, one to a mirror, and some spare.
	BundleRedirects = 5
	// BundleHeader bounds the headers of an answer.
	BundleHeader = 32 << 10
)

// BundleSoon is how long before it ends a certificate is said to expire soon: time
// enough for a vendor to publish the next and for users to take a release with it.
const BundleSoon = 90 * 24 * time.Hour

// How an EK certificate's chain is looked for. Some of the certificates come from
// who wants to be believed.
const (
	// BundleChain is the most certificates in a chain, with the EK's and the
	// root's; the longest known chain has four.
	BundleChain = 8
	// BundleChecks is how many signatures are checked in search of one chain. An
	// honest search needs a few more than the chain has links, because CAs share
	// names.
	BundleChecks = 64
	// BundleLooks is how many possible issuers are looked at in search of one chain,
	// with or without a check: by certifying each other, few make many paths.
	BundleLooks = 10_000
	// BundleSetChecks is how many signatures are checked to see which certificate of
	// a set issued which, and BundleSetChecksEach how many more for each: one is what
	// most need, and two what renewed CAs need.
	BundleSetChecks     = 1024
	BundleSetChecksEach = 4
	// BundleRSABits is the largest RSA key whose signatures are checked, as in
	// crypto/tls: the work grows with the square, and a certificate has room for
	// half a million bits.
	BundleRSABits = 8192
	// BundleHelpers is how many certificates of CAs a file may bring with its EK
	// certificates; a chain has room for six.
	BundleHelpers = 32
	// BundleCRL: the largest revocation list of a TPM vendor has some 10 kB, and
	// one with 100,000 entries 4 MB.
	BundleCRL = 8 << 20
	// BundleCRLSize bounds all lists together: they are kept in memory, in four
	// times their size if they hold nothing but short entries.
	BundleCRLSize = 32 << 20
	// BundleCRLs is ten times what the vendors publish.
	BundleCRLs = 256
)
