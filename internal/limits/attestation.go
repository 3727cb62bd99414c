package limits

import "time"

// Bounds on attestation evidence and what goes with it.
const (
	// Evidence is the longest evidence, in bytes: an EK certificate and three
	// intermediates of 2 KiB each, in base64, five times.
	Evidence = 64 << 10
	// EvidenceIntermediates is how many certificates may come with an EK
	// certificate. Makers that store some in the TPM store up to four.
	EvidenceIntermediates = 8
	// EvidenceNonce is the longest nonce, in octets: a SHA-256 digest. The TPM
	// takes more only from keys with longer names.
	EvidenceNonce = 32
	// Challenge is the longest challenge, answer or pending challenge, in bytes: a
	// secret encrypted to an RSA-4096 key takes 700.
	Challenge = 4 << 10
	// ChallengeAge is how long a challenge may be answered: it is carried by
	// people, perhaps overnight.
	ChallengeAge = 24 * time.Hour
)
