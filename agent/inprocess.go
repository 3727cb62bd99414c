package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// InProcess serves s inside this process and returns a client of it: the same
// server, authoriser and audit log as behind a socket, over pairs of connected
// sockets that nobody else can reach. Closing the client ends that; the server
// is for the caller to shut down.
func InProcess(s *Server) *Client {
	l := &pairListener{conns: make(chan net.Conn), done: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- s.ServeControl(l) }()
	return newClient(l.dial, func() error {
		l.Close()
		if err := <-served; !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
}

// pairListener is a listener that only its owner can dial.
type pairListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *pairListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		err = net.ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, errors.Join(err, ours.Close(), theirs.Close())
}

// Accept implements [net.Listener].
func (l *pairListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *pairListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements [net.Listener].
func (l *pairListener) Addr() net.Addr { return &net.UnixAddr{Name: "in-process", Net: "unix"} }

// socketPair makes two connected unix sockets; unlike net.Pipe's, their peers
// are known to the kernel.
func socketPair() (a, b net.Conn, err error) {
	fds, err := cloexecPair()
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	var conns [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		conns[i], err = net.FileConn(f) // duplicates the descriptor
		f.Close()
		if err != nil {
			for _, fd := range fds[i+1:] {
				unix.Close(fd)
			}
			if i == 1 {
				conns[0].Close()
			}
			return nil, nil, err
		}
	}
	return conns[0], conns[1], nil
}

// cloexecPair keeps a pinentry that is started meanwhile from inheriting the
// sockets.
func cloexecPair() (fds [2]int, err error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	return fds, err
}
