package limits

import "time"

// AgentParent is how often an agent that serves one command looks whether that
// command still runs: OpenSSH's agent leaves within 10 seconds of its end.
const AgentParent = 2 * time.Second

// AgentLog is how large the agent's log file may grow, and the one before it: thousands
// of signatures, which the audit log has too.
const AgentLog = 1 << 20

// ServiceManager is how long a service manager may take to read that the agent is
// ready: it does nothing else, and the agent serves already.
const ServiceManager = time.Second

// HandedOver is how many sockets a service manager may hand over: ssh and control.
const HandedOver = 2

// SoftwareLifetime is the longest lifetime of a key that the command line takes: the
// wire has 32 bits for it (RFC 9987, section 5.2.5).
const SoftwareLifetime = (1<<32 - 1) * time.Second
