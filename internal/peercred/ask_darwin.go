package peercred

import "golang.org/x/sys/unix"

// ask reads LOCAL_PEERCRED and LOCAL_PEERPID (unix(4)).
func ask(fd int) (Credentials, error) {
	c, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return Credentials{}, err
	}
	pid, err := unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	if err != nil {
		return Credentials{}, err
	}
	return Credentials{UID: int(c.Uid), PID: pid}, nil
}
