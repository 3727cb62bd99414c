package limits

// Reading a release folder.
const (
	// ReleaseSigstore is the longest Sigstore bundle over SHA256SUMS. A signature by a
	// key has half a kilobyte; with a certificate, a log entry and timestamps some 15.
	// A hostile folder may have as many as ReleaseFiles, and all are read first.
	ReleaseSigstore = 256 << 10
	// VerifyGarbage is how much garbage `bundle verify` collects, in percent of what it
	// uses: four times Go's usual, for a fifth less time. It uses little, and reads
	// nothing but signatures before it knows who signed the rest.
	VerifyGarbage = 400
)
