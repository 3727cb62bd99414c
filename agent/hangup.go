package agent

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp says whether the client has closed the connection, also if it sent more than
// was read before it did.
func (n *conn) hungUp() bool {
	return n.look(func(raw syscall.RawConn, closed func(fd uintptr) bool) error {
		return raw.Control(func(fd uintptr) { closed(fd) })
	})
}

// hangsUp waits for that until the read deadline, and reads nothing.
func (n *conn) hangsUp() bool { return n.look(syscall.RawConn.Read) }

// look has a way of looking at the descriptor see whether its peer has closed.
func (n *conn) look(by func(raw syscall.RawConn, closed func(fd uintptr) bool) error) (gone bool) {
	socket, ok := n.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	err = by(raw, func(fd uintptr) bool {
		state := []unix.PollFd{{Fd: int32(fd)}} // that a peer hung up is always told
		_, err := unix.Poll(state, 0)
		gone = err == nil && state[0].Revents&unix.POLLHUP != 0
		return gone
	})
	return gone || err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}
