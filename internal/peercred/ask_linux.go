package peercred

import "golang.org/x/sys/unix"

// ask reads SO_PEERCRED (unix(7)).
func ask(fd int) (Credentials, error) {
	c, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{UID: int(c.Uid), PID: int(c.Pid)}, nil
}
