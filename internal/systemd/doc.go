// Package systemd holds the units of the agent and installs them.
//
// # Trust
//
// The folders belong to who runs us. A unit that we did not write is never replaced
// or removed: it may be a person's own, or a mask. Nothing here is part of the agent
// itself.
package systemd
