package daemon

import (
	"fmt"
	"syscall"
)

// Harden keeps this process's memory from other processes of the user, and a
// crash from writing it to a file. From then on the process cannot open its own
// descriptors by their names in /dev/fd.
func Harden() error {
	if err := undumpable(); err != nil {
		return fmt.Errorf("make the process undumpable: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	return nil
}
