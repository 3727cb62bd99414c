package tpmtest

import (
	"io"
	"net"
)

// TCTI is how programs over libtss2 find the TPM: the value of TPM2TOOLS_TCTI and
// TPM2OPENSSL_TCTI. No device may be open meanwhile: they need the TPM's slots.
// Call it once.
func (m *TPM) TCTI() string {
	m.t.Helper()
	listener, err := net.Listen("unix", m.socket+".ctrl")
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go control(c)
		}
	}()
	return "swtpm:path=" + m.socket
}

// control answers swtpm's control protocol as far as libtss2 speaks it: to
// CMD_SET_LOCALITY, a code and the locality, with success. This TPM has one
// locality.
func control(c net.Conn) {
	defer c.Close()
	command := make([]byte, 5)
	for {
		if _, err := io.ReadFull(c, command); err != nil || string(command) != "\x00\x00\x00\x05\x00" {
			return
		}
		if _, err := c.Write(make([]byte, 4)); err != nil {
			return
		}
	}
}
