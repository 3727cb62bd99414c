// Package peercred asks the kernel who is at the other end of a unix socket, and
// which processes started that one.
//
// # Trust
//
// The kernel recorded the answer when the peer connected: the user is certain.
// The process may have passed its end of the socket to another, or be gone, so
// the process number is for logs and prompts and must never decide anything. The
// names in a [Chain] are of files that processes run, or what these call themselves:
// a hostile process runs any program, or has another one ask in its place.
package peercred
