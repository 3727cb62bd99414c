package limits

import "time"

// What git may take to answer a question about a commit.
const (
	// GitTime: the answers take milliseconds, but for a folder on a slow network.
	GitTime = 10 * time.Second
	// GitOutput has room for ten thousand tags on one commit.
	GitOutput = 1 << 20
)
