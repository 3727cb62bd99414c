package peercred

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Credentials is the process that made the other end of a connection.
type Credentials struct {
	UID int
	PID int // 0: not known
}

// ErrUnsupported is returned on systems whose question we do not know.
var ErrUnsupported = errors.New("peer credentials are not supported on this system")

// Of asks for the peer of a unix socket connection.
func Of(conn net.Conn) (Credentials, error) { return control(conn, "credentials", ask) }

// ProcessOf asks for the peer's process as a descriptor (pidfd_open(2)), which keeps
// meaning that process when its number is given to another. The caller closes it.
func ProcessOf(conn net.Conn) (*os.File, error) { return control(conn, "process", askProcess) }

// control runs f with the descriptor of a connection.
func control[T any](conn net.Conn, what string, f func(fd int) (T, error)) (t T, err error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return t, fmt.Errorf("connection of type %T has no peer %s", conn, what)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return t, err
	}
	var askErr error
	if err := raw.Control(func(fd uintptr) { t, askErr = f(int(fd)) }); err != nil {
		return t, err
	}
	if askErr != nil {
		return t, fmt.Errorf("peer %s: %w", what, askErr)
	}
	return t, nil
}
