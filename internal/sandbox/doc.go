// Package sandbox takes away from this process what it will not need again: with
// Landlock (landlock(7)) all files but those below some folders, running programs,
// TCP, abstract unix sockets and signals to others; and every way to more rights.
//
// # Trust
//
// The kernel enforces it, as far as it can: [Restrict] returns how far that is. It
// is meant for what a stranger makes of a mistake of ours, and holds for every
// thread and child from then on. What is open stays open. Sockets in the file
// system can still be connected to: an agent speaks to other agents, and kernels
// before Landlock's ABI 9 do not restrict that at all.
package sandbox
