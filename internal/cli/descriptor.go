package cli

import (
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// descriptor is a file descriptor that this process was started with, and done is
// for the end. Every other one that is open was opened here, perhaps by Go's runtime:
// what it holds would become a PIN that nobody chose. Those are closed on exec, and
// those that came through an exec are not.
func descriptor(fd int, what string) (f *os.File, done func(), err error) {
	if fd < 0 || fd > math.MaxInt32 {
		return nil, nil, usageError(fmt.Errorf("%d is no file descriptor", fd))
	}
	if std := []*os.File{os.Stdin, os.Stdout, os.Stderr}; fd < len(std) {
		return std[fd], func() {}, nil // errors are still to be printed
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return nil, nil, usageError(fmt.Errorf("no file descriptor %d was given to this process", fd))
	}
	f = os.NewFile(uintptr(fd), what)
	return f, func() { f.Close() }, nil
}
