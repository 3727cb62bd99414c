// Mangen writes the man pages of sealsmith's commands into a folder:
//
//	mangen DIR
//
// # Trust
//
// A build tool: it reads nothing but the command tree.
package main
