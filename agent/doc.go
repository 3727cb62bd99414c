// Package agent serves hardware keys over two unix sockets.
//
// The one for SSH speaks the ssh-agent protocol (RFC 9987) and nothing else; the
// control socket speaks HTTP/1.1 with JSON, as docs/spec/control-api.md says.
// [Server] is the daemon's side of both, [Client] is the other side of the
// control socket. One authoriser (authorize.go) stands behind both: a key signs
// only what its usage allows and what the agent can say the meaning of, and a
// person is asked where the key demands it.
//
// The package knows keys, not devices: it is given a [key.Ring], and the [PINs]
// that it asks for are given to the device drivers as a [key.AuthFunc].
//
// # Trust
//
// Who can connect runs under our uid or is root, which the kernel tells;
// everything that a peer sends is hostile all the same. Such a peer can have
// signed what the keys without confirmation allow, make and delete keys, show
// prompts with words of its own (quoted, and kept apart from the facts), and keep
// the agent busy within the limits of internal/limits. It cannot get at a private
// key or a remembered PIN, have a login or anything else with a meaning of its own
// signed by a key that is not made for it, end the process, or make it use memory
// without bound. (An artifact key does sign any whole message that resembles
// nothing known, and a digest key anything.) Who waits with a program of its own
// until the person types a PIN is not stopped here.
//
// Other agents that the configuration names ([Upstream]) are as hostile: one can list
// what it likes behind our keys, see what it is asked to sign and by whom, and refuse;
// it can hide no key of ours, and delay a list once in a while.
package agent
