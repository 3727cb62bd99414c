package tpmtest

import (
	"net"
	"os"
	"os/exec"

	"github.com/sealsmith/sealsmith/internal/sockets"
	"github.com/sealsmith/sealsmith/internal/testenv"
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

// restart ends the TPM, in order or as a power cut would, and starts it with the
// state that it has kept. The caller holds mu.
func (m *TPM) restart(inOrder bool) error {
	if inOrder {
		shutdown := []byte{0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0} // TPM2_Shutdown(CLEAR)
		if _, err := m.send(shutdown); err != nil {
			return err
		}
	}
	m.child.cmd.Process.Kill()
	m.child.stop()
	program, err := testenv.Look(testenv.SWTPM)
	if err == nil {
		m.child, err = startChild(program, m.state)
	}
	return err
}

// stop hangs up and waits for the end of the process.
func (c *child) stop() {
	c.conn.Close()
	c.cmd.Wait() // its status says nothing: it may have been killed
}
