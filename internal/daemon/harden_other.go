//go:build !linux

package daemon

// undumpable does nothing: only Linux has it.
func undumpable() error { return nil }
