// Package xdg says where sealsmith's files are.
//
// Configuration, data and state follow the XDG base directory specification.
// The folder of the sockets does not: see [Runtime].
//
// # Trust
//
// The environment names these folders, and whoever sets our environment is us.
// What lies in them may have been put there by somebody else, so [Private]
// refuses folders that are links, are not ours, or are open to others.
package xdg
