package tpm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// openNode opens a TPM device of the kernel without blocking, so that Go's
// poller gives deadlines: a blocking read of a wedged TPM could not be ended.
func openNode(path string) (*link, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	n, err := newNode(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &link{conn: n}, nil
}

// node is a character device whose Read waits for data. The kernel's driver
// answers a read that comes too early with 0 bytes, which would look like the
// end of the file, instead of EAGAIN (drivers/char/tpm/tpm-dev-common.c).
type node struct {
	*os.File
	read func(func(fd uintptr) (done bool)) error
}

func newNode(f *os.File) (*node, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeCharDevice == 0 {
		return nil, fmt.Errorf("not a character device: %w", key.ErrUsage)
	}
	if err := f.SetDeadline(time.Time{}); errors.Is(err, os.ErrNoDeadline) {
		return nil, hint.Wrap(errors.New("the device cannot be polled"),
			f.Name()+" is no TPM, or the kernel is older than Linux 5.0")
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &node{f, raw.Read}, nil
}

// Read implements [io.Reader].
func (n *node) Read(p []byte) (int, error) {
	var got int
	var failed error
	err := n.read(func(fd uintptr) (done bool) {
		got, failed = readReady(int(fd), p)
		return failed != unix.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case failed != nil:
		return 0, os.NewSyscallError("read", failed)
	case got == 0:
		return 0, io.EOF
	}
	return got, nil
}

// readReady reads if there is something to read, else fails with EAGAIN. Calls
// that a signal interrupted are repeated.
func readReady(fd int, p []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		switch ready, err := unix.Poll(fds, 0); {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case ready == 0:
			return 0, unix.EAGAIN
		}
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return n, err
		}
	}
}
