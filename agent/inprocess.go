package agent

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/sealsmith/sealsmith/internal/sockets"
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

// socketPair makes two connections, whose peers are known to the kernel.
func socketPair() (a, b net.Conn, err error) {
	a, file, err := sockets.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer file.Close() // FileConn duplicates it
	b, err = net.FileConn(file)
	if err != nil {
		return nil, nil, errors.Join(err, a.Close())
	}
	return a, b, nil
}
