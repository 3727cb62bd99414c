package limits

import "time"

// Bounds of what every room stands on.
const (
	// KeyComment is the longest comment of a key, in bytes. Most are USER@HOST;
	// the longest host name has 253.
	KeyComment = 256
	// YAMLDepth is how deep a YAML document may nest; our deepest has five
	// levels.
	YAMLDepth = 32
	// YAMLMarks bounds the lines and punctuation marks of a YAML document, and so
	// the memory for its nodes, about 300 bytes each. 28,000 CA certificates take
	// less; our catalogs have 5,000.
	YAMLMarks = 500_000
	// YAMLMistakes is how many mistakes of one document are reported: more than
	// anybody reads before mending the first.
	YAMLMistakes = 100
	// SocketPath is the longest path of a unix socket, in bytes: what
	// sockaddr_un holds on Linux, besides the zero byte.
	SocketPath = 107
	// SocketLinks is how many symbolic links may be on the way to a socket: as many as
	// Linux follows (path_resolution(7)).
	SocketLinks = 40
	// SocketProbe is how long the owner of a socket may take to answer before
	// we say that we cannot tell whether it is alive.
	SocketProbe = time.Second
	// LockWait is how long we wait for a lock of a folder that another process
	// holds: for some small writes, or for SocketProbe.
	LockWait = 5 * time.Second
	// LockPause is the time between two tries to take it: what a person does
	// not notice.
	LockPause = 10 * time.Millisecond
)
