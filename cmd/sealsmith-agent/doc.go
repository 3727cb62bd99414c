// Command sealsmith-agent holds hardware keys for OpenSSH, git and sealsmith. See
// sealsmith-agent(1).
//
// # Trust
//
// See package internal/daemon.
package main
