package tpmtest

import (
	"net"
	"os"
	"os/exec"

	"github.com/sealsmith/sealsmith/internal/sockets"
)

// child is a running swtpm.
type child struct {
	cmd  *exec.Cmd
	conn net.Conn
}

// startChild starts swtpm on one end of a socket pair. It ends with the
// connection.
func startChild(program, state string) (*child, error) {
	conn, theirs, err := sockets.Pair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
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
