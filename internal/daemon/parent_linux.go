package daemon

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// awaitExit waits until a process or ctx ends.
func awaitExit(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK) // Linux 5.10
	if err != nil {
		return err
	}
	process := os.NewFile(uintptr(fd), "parent")
	defer process.Close()
	defer context.AfterFunc(ctx, func() { process.Close() })()
	conn, err := process.SyscallConn()
	if err != nil {
		return err
	}
	// It can be read from when the process has ended (pidfd_open(2)).
	return conn.Read(func(fd uintptr) bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0
	})
}
