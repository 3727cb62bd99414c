package sandbox

import (
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// noNewPrivileges does it for every thread: the attribute is one of threads.
func noNewPrivileges() error { return llsys.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }
