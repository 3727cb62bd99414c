// Package daemon joins the devices, the configuration, the prompts and the
// sockets to the agent that people run. [Main] is the program sealsmith-agent;
// [New] makes the same agent without sockets, for a command that works without a
// running one.
//
// An agent with sockets is two processes: before it serves it starts its helper, which
// asks people and starts programs for it (internal/helper), and gives up what it
// does not need (internal/sandbox). The agent of [New] does all that itself.
//
// # Trust
//
// The arguments, the environment and the configuration are the user's own.
// So are the descriptors that the process starts with: a socket that was handed over
// is served if it is a unix socket, for the kernel says who connects to it.
// Everything that arrives on the sockets or from the device is hostile and is
// dealt with in packages agent and tpm. This process holds PINs: an allow-list in
// internal/archtest says which modules it may link.
package daemon
