package sockets

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// Pair makes two connected unix stream sockets: a connection for us and a file
// for a child process, or for [net.FileConn]. No child inherits either by
// accident. Unlike [net.Pipe]'s ends, they have deadlines and peers that the
// kernel names. The caller closes both.
func Pair() (conn net.Conn, file *os.File, err error) {
	// Between these calls no child may be started: it would inherit both
	// ends and keep the pair open. (SOCK_CLOEXEC exists on Linux only.)
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "socketpair")
	defer ours.Close() // FileConn duplicates it
	file = os.NewFile(uintptr(fds[1]), "socketpair")
	conn, err = net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return conn, file, nil
}
