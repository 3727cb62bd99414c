//go:build !linux

package sandbox

// noNewPrivileges does nothing: only Linux has it.
func noNewPrivileges() error { return nil }
