package cli

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// waiting reads from a file that may have nothing for long. A read(2) that waits heeds no
// signal that Go catches; so this waits in poll(2), which the end of wake ends too.
type waiting struct {
	f, wake *os.File
}

// untilStopped is a reader of the same that ends with [context.Canceled] when the command
// is stopped. Who has read all that is wanted calls done.
func (a *app) untilStopped(from io.Reader) (r io.Reader, done func()) {
	f, ok := from.(*os.File)
	if !ok || a.onStop == nil {
		return from, func() {}
	}
	// Who cannot read it would wait for ever, but for the error of read(2).
	if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE == unix.O_WRONLY {
		return from, func() {}
	}
	wake, hold, err := os.Pipe()
	if err != nil {
		return from, func() {} // it takes a second signal, then
	}
	stop := a.onStop(func() { hold.Close() })
	return &waiting{f, wake}, func() {
		stop()
		hold.Close()
		wake.Close()
	}
}

// Read implements [io.Reader].
func (w *waiting) Read(p []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(w.f.Fd()), Events: unix.POLLIN}, {Fd: int32(w.wake.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, os.NewSyscallError("poll", err)
		case fds[1].Revents != 0:
			return 0, context.Canceled
		default:
			return w.f.Read(p)
		}
	}
}
