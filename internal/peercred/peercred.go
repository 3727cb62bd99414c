package peercred

import (
	"errors"
	"fmt"
	"net"
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
func Of(conn net.Conn) (Credentials, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return Credentials{}, fmt.Errorf("connection of type %T has no peer credentials", conn)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return Credentials{}, err
	}
	var c Credentials
	var askErr error
	if err := raw.Control(func(fd uintptr) { c, askErr = ask(int(fd)) }); err != nil {
		return Credentials{}, err
	}
	if askErr != nil {
		return Credentials{}, fmt.Errorf("peer credentials: %w", askErr)
	}
	return c, nil
}
