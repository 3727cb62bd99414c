//go:build !linux

package tpm

import "syscall"

// endWithThread does nothing: only Linux can do that.
func endWithThread(*syscall.SysProcAttr) {}
