// Package peercred asks the kernel who is at the other end of a unix socket.
//
// # Trust
//
// The kernel recorded the answer when the peer connected: the user is certain.
// The process may have passed its end of the socket to another, or be gone, so
// the process number is for logs and prompts and must never decide anything.
package peercred
