package tpmtest

import (
	"net"
	"os"
	"os/exec"
	"syscall"
)

// child is a running swtpm.
type child struct {
	cmd  *exec.Cmd
	conn net.Conn
}

// startChild starts swtpm on one end of a socket pair. It ends with the
// connection.
func startChild(program, state string) (*child, error) {
	syscall.ForkLock.RLock() // see package tpm
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "tpm"), os.NewFile(uintptr(fds[1]), "swtpm")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "socket", "--tpm2", "--tpmstate", "dir="+state,
		"--fd", "3", "--flags", "not-need-init,startup-clear", "--terminate")
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return nil, err
	}
	return &child{cmd, conn}, nil
}

// stop hangs up and waits for the end of the process.
func (c *child) stop() {
	c.conn.Close()
	c.cmd.Wait() // its status says nothing: it may have been killed
}
