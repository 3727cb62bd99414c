package limits

import "time"

// What is remembered of releases, and how old they may be.
const (
	// SeenFile is the largest file of what was seen: a signer takes about 250
	// bytes, and nobody follows thousands.
	SeenFile = 1 << 20
	// SeenSigner is the longest name of a signer, in bytes: an identity is an
	// address.
	SeenSigner = 320
	// ReleaseOld is the age at which a release is warned about: vendors add CAs
	// several times a year, and somebody may hide the newer ones.
	ReleaseOld = 180 * 24 * time.Hour
	// ReleaseAhead is how far in the future a release may be dated: a day for the
	// zones of the earth, and one for clocks that are wrong. A later date would have
	// every honest release after it refused as older.
	ReleaseAhead = 48 * time.Hour
)
