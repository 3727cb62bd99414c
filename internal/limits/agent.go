package limits

import "time"

// Sizes of what clients send to the agent.
const (
	// AgentFrame is the longest message of the ssh-agent protocol, as in
	// OpenSSH's agent.
	AgentFrame = 256 << 10
	// AgentFreeFrame is how large a message or body may be without a share
	// of a budget; every honest login and file signature fits.
	AgentFreeFrame = 4 << 10
	// AgentFrames is the memory for larger messages of all connections.
	AgentFrames = 16 << 20
	// AgentBuffer is the memory for what comes on a connection: most requests to sign
	// fit, and a thousand connections cost a megabyte. It is also how far is read
	// ahead to see the end of a client.
	AgentBuffer = 1 << 10
	// AgentIdleConns is how many idle connections a client keeps: as many as
	// sign at once; they are local and cheap.
	AgentIdleConns = 64
	// AgentGarbage is how much garbage the agent collects, in percent of what it
	// uses: half of Go's usual, for a fifth less memory under load. The device
	// sets the pace, not this.
	AgentGarbage = 50
	// AgentConnections bounds each socket: five times the load that agents
	// are tried with, and within the usual number of descriptors.
	AgentConnections = 1024
	// AgentDescriptors is how many descriptors connections leave to all else: some 16
	// are always open, and a few more while keys are read, files made or people asked.
	AgentDescriptors = 32
	// SSHSessionID is the longest session id; OpenSSH's agent has the same
	// limit, and the longest hash in use has 64 bytes.
	SSHSessionID = 128
	// SSHBinds is how many session-bind entries a connection may have: one a
	// hop, as in OpenSSH's agent.
	SSHBinds = 16
	// SSHHostKey is the longest host key or host certificate that a connection is
	// bound to: an RSA key of 16,384 bits by a CA with another has 6 KiB.
	SSHHostKey = 8 << 10
	// SSHBindings is the memory for the bindings of all connections that take more
	// than AgentFreeFrame: thousands of hops with large host certificates.
	SSHBindings = 4 << 20
	// SoftwareKeys is how many keys clients may add: many more than any server
	// lets a client try, and a page of locked memory each.
	SoftwareKeys = 256
	// SoftwareSize is the memory for what comes with them: certificates,
	// comments, destinations.
	SoftwareSize = 8 << 20
	// SoftwareComment is the longest comment of such a key: the path of a file.
	SoftwareComment = 4 << 10
	// Destinations is how many a key may be restricted to, as in OpenSSH's agent.
	Destinations = 1024
	// HopText is the longest user or host of a destination: OpenSSH's limit for
	// users, and that of DNS for hosts.
	HopText = 256

	// ControlBody is the largest request body: a DSSE payload in base64.
	ControlBody = 6 << 20
	// ControlBodies is the memory for the bodies of all requests in flight.
	ControlBodies = 32 << 20
	// ControlHeader bounds the header of a request; ours have 200 bytes.
	ControlHeader = 8 << 10
	// ErrorText is the longest message or hint of an error on the control
	// socket: far longer than ours, which may repeat what a request said.
	ErrorText = 4 << 10
	// DSSEPayload is the largest payload to sign: statements of releases with
	// thousands of files fit.
	DSSEPayload = 4 << 20
	// SignBlob is the largest whole message to sign. Larger things are
	// signed by a statement about them.
	SignBlob = 1 << 20
	// SecretOctets is the longest PIN that a client may hand over; no device
	// takes more.
	SecretOctets = 64
	// Secrets is how many handed-over PINs may wait to be used.
	Secrets = 16
	// ClaimText is how much of a client's own words is shown or repeated.
	ClaimText = 200
	// ShortClaim is where a prompt that is short of room stops halving them.
	ShortClaim = 16
	// ShownDigests is how many digests of a statement's subjects a prompt
	// shows: what fits into a line of the Assuan protocol, and what a person
	// compares.
	ShownDigests = 4
	// ShownCertificate is how much of an SSH certificate's principals and
	// options a prompt shows: what is left of a line of the Assuan protocol.
	ShownCertificate = 320
	// Checkpoint is how much of a message is searched for the first three
	// lines of a log's checkpoint: an origin, a number and a hash.
	Checkpoint = 4 << 10
)

// How long clients and people may take.
const (
	// AgentFrameTime is from the first byte of a message to its last, and
	// for an answer to be taken.
	AgentFrameTime = 10 * time.Second
	// AgentWatch is how long a request may take before it is seen whether its client
	// is still there: longer than a device with a few clients needs, so that only
	// those who wait for people or in a long queue cost a second goroutine.
	AgentWatch = 500 * time.Millisecond
	// AgentDial is how long the agent may take to accept a connection, and to say
	// what it is.
	AgentDial = 5 * time.Second
	// AcceptPause is how long to wait for a free descriptor before trying
	// again: short for a client, long for a processor.
	AcceptPause = 50 * time.Millisecond
	// AgentMoment is how long a connection keeps its place for sure, without a request:
	// longer than a client takes for one, and a thousand make room for ten thousand a
	// second. AgentPlace is how long after the last one came, left or was answered newcomers
	// wait for one of them, or of those whose request is under way: for a queue of
	// signatures, not for people.
	AgentMoment = 100 * time.Millisecond
	AgentPlace  = 2 * time.Second
	// ControlHeaderTime is for a request's header.
	ControlHeaderTime = 5 * time.Second
	// ControlBodyTime is for a request's body: the largest over a local
	// socket takes milliseconds.
	ControlBodyTime = 10 * time.Second
	// ControlIdle is how long an idle control connection is kept.
	ControlIdle = time.Minute
	// SecretLife is how long a handed-over PIN waits to be used.
	SecretLife = time.Minute

	// PINIdle and PINLife are how long an unused and any PIN is remembered:
	// a break, and a working day.
	PINIdle = 15 * time.Minute
	PINLife = 8 * time.Hour
	// Sleep is how long a machine has to sleep for its PINs to be forgotten: more
	// than the clocks differ for other reasons, less than a lid takes to close
	// and open.
	Sleep = time.Second
	// PromptTime is how long a person may think, and how long a request waits
	// for others to be answered.
	PromptTime = 2 * time.Minute
	// PromptExit is how long a program that asked may take to leave, by itself
	// and once more after SIGTERM: curses gives a terminal back in no time.
	PromptExit = time.Second
	// AgentStop is how long commands in flight may take when the agent stops:
	// as long as a device command.
	AgentStop = TPMCommand
)

// The agent's lock.
const (
	// LockSalt and LockHash are the sizes of the passphrase's salt and hash.
	LockSalt = 16
	LockHash = 32
	// LockCost and LockBlock are the parameters of scrypt: 4 MiB and some 10 ms a
	// passphrase, which the daemon's memory can spare.
	LockCost  = 1 << 12
	LockBlock = 8
	// UnlockDelay is how much longer each wrong passphrase takes than the one
	// before, and UnlockDelayMax the longest, as in OpenSSH's agent.
	UnlockDelay    = 100 * time.Millisecond
	UnlockDelayMax = 10 * time.Second
)

// PINPrompts is how often a person is asked before a request fails: as often as
// most cards forgive.
const PINPrompts = 3

// How often a client may be refused.
const (
	// Refusals is how many requests to sign of a process may be refused in a row, as
	// those of an ssh with many keys, or change what the agent holds, as those of an
	// ssh-add with many, before its next ones wait, and RefusalTime how long each
	// counts: then the audit log takes hours to fill, not seconds. Others do not wait
	// for it: a host that the agent is forwarded to must not slow down logins.
	Refusals    = 100
	RefusalTime = 100 * time.Millisecond
	// Noes is how many questions of a process a person may answer with no, or not
	// at all, before it is not asked about any more, and NoTime how long each
	// counts; AllNoes and AllNoTime are for all processes together.
	Noes      = 5
	NoTime    = 12 * time.Second
	AllNoes   = 15
	AllNoTime = 6 * time.Second
	// RateProcesses is how many processes are told apart: as many as can be
	// connected.
	RateProcesses = AgentConnections
)

// The audit log.
const (
	// AuditFile is how long the file gets before a new one is begun: some 40,000
	// records, which a check reads in a second.
	AuditFile = 16 << 20
	// AuditFiles is how many full files are kept: months of one person's work.
	AuditFiles = 4
	// AuditRecords is the last number of a record: the names of files that were set
	// aside have twelve digits, which last for 30 years at a thousand a second.
	AuditRecords = 1e12 - 1
	// AuditTail is how far back the last record is looked for, and the longest
	// line: ten times the longest of ours.
	AuditTail = 256 << 10
	// AuditTorn is how many lines that are no records a check names: what a
	// person reads. A file that is no log has millions.
	AuditTorn = 20
	// AuditPrincipals is how much of a certificate's principals is recorded:
	// more than a person was shown.
	AuditPrincipals = 4 << 10
	// AuditLock is how long a record waits for other processes to write theirs,
	// which takes microseconds unless one of them is stopped, and AuditRetry how
	// long to wait before looking again.
	AuditLock  = 5 * time.Second
	AuditRetry = time.Millisecond
	// AuditQueue is how many records may wait for the system's log: a burst of
	// signatures.
	AuditQueue = 1024
	// AuditFlush is how long the system's log may take for a record, or, at the
	// end, for all that wait.
	AuditFlush = time.Second
)

// Sizes around prompts.
const (
	// Prompts is how many may be on the screen at once, for as many keys: what
	// a person can keep apart, and no way to fill the machine with processes.
	Prompts = 4
	// PromptText is the longest text of a question, but for pinentry: more than
	// honest ones have, and less than a screen that scrolls.
	PromptText = 4 << 10
	// PromptPIN is the longest PIN that a person can type; pinentry's own
	// limit is 2 kB, no device takes more than 64.
	PromptPIN = 255
	// AssuanLine is the longest line of the Assuan protocol without its end
	// (https://www.gnupg.org/documentation/manuals/assuan, "Server responses").
	AssuanLine = 1000
	// AssuanLines bounds what a pinentry may say before its answer.
	AssuanLines = 64
)

// ConfigFile is the largest configuration: 10,000 keys with settings.
const ConfigFile = 1 << 20
