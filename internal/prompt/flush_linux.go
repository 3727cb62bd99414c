package prompt

import "golang.org/x/sys/unix"

// flush throws away what was typed before the question was there to be read: it
// is an answer to nothing.
func flush(fd int) error { return unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCIFLUSH) }
