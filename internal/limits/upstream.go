package limits

import "time"

// Other agents that ours passes requests on to.
const (
	// Upstreams is how many there may be: each is asked for every list.
	Upstreams = 8
	// UpstreamConnections is how many connections to them there may be in all, one
	// for each request under way: more than the clients that agents are tried with, and
	// where it ends if agents name each other in a ring.
	UpstreamConnections = 256
	// UpstreamFrames is the memory for their larger answers.
	UpstreamFrames = 4 << 20
	// UpstreamKeys is how many keys one may list, as many as ours holds in software.
	UpstreamKeys = 256
	// UpstreamListing is the room for their keys in our list: half of the longest
	// message.
	UpstreamListing = AgentFrame / 2
	// UpstreamComment is how much of a key's comment is passed on: the path of a
	// file.
	UpstreamComment = 256
	// UpstreamSignature is the longest signature: twice that of RSA with 16,384
	// bits, or of ML-DSA.
	UpstreamSignature = 8 << 10
	// Offered is how many keys can be named for the list: more than a server lets
	// a client try.
	Offered = 256
	// SSHBind is the longest message that binds a connection: a certificate with an
	// RSA key of 16,384 bits, and its signature.
	SSHBind = 16 << 10

	// UpstreamRoom is how long a request waits for one of them: for lists, which take
	// milliseconds, not for people who are asked about signatures.
	UpstreamRoom = 100 * time.Millisecond
	// UpstreamTime is how long the others may take for their lists, all together:
	// local agents take a millisecond.
	UpstreamTime = 2 * time.Second
	// UpstreamRest is how long one that took longer is left alone, so that it does
	// not slow down every list.
	UpstreamRest = 10 * time.Second
	// UpstreamSign is for a signature: a person may be asked there.
	UpstreamSign = PromptTime
)
