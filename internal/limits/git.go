package limits

import "time"

// What git may take to answer a question about a commit.
const (
	// GitTime: the answers take milliseconds, but for a folder on a slow network.
	GitTime = 10 * time.Second
	// GitWait is for what git started and left behind, once git has ended.
	GitWait = time.Second
	// GitOutput has room for ten thousand tags on one commit.
	GitOutput = 1 << 20
)
