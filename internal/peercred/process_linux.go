package peercred

import (
	"os"

	"golang.org/x/sys/unix"
)

// askProcess reads SO_PEERPIDFD (Linux 6.5).
func askProcess(fd int) (*os.File, error) {
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(pidfd), "peer"), nil
}
