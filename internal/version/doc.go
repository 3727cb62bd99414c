// Package version tells which build this is.
//
// # Trust
//
// The text comes from the build itself (the Go build information and a value
// that the release build sets); no input reaches it.
package version
