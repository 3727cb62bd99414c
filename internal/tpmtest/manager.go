package tpmtest

import (
	"encoding/binary"
	"errors"
	"net"
	"path/filepath"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// space is what one client has in a TPM that is managed, as by the kernel behind
// /dev/tpmrm0: handles of its own, and nothing in the TPM between two commands
// (compare drivers/char/tpm/tpm2-space.c).
type space struct {
	tpm      *TPM
	objects  map[uint32][]byte // saved contexts by the client's handle
	sessions map[uint32][]byte // saved contexts
	loaded   map[uint32]uint32 // objects in the TPM now: its handle by the client's
	next     uint32
}

// Manage serves the TPM to one more client through a resource manager, and returns
// the path of its socket. What that client sends is neither counted nor disturbed.
func (m *TPM) Manage() (socket string) {
	m.t.Helper()
	socket = filepath.Join(testenv.SocketDir(m.t), "managed.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		m.t.Fatal(err)
	}
	m.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s := &space{tpm: m, objects: map[uint32][]byte{}, sessions: map[uint32][]byte{}, next: 0x80ffffff}
			s.serve(c)
			c.Close()
		}
	})
	m.t.Cleanup(func() { l.Close() })
	return socket
}

func (s *space) serve(c net.Conn) {
	for {
		command, err := readFrame(c)
		if err != nil {
			break
		}
		s.tpm.mu.Lock()
		answer, err := s.carryOut(command)
		s.tpm.mu.Unlock()
		if err != nil {
			s.tpm.t.Errorf("resource manager: command %v: %v", codeOf(command), err)
			break
		}
		if _, err := c.Write(answer); err != nil {
			break
		}
	}
	for h := range s.sessions {
		s.tpm.Send(flushCommand(h))
	}
}

// handleCounts are how many handles come first in the commands that our clients use.
var handleCounts = map[tpm2.TPMCC]int{
	tpm2.TPMCCReadPublic: 1, tpm2.TPMCCCreatePrimary: 1, tpm2.TPMCCStartAuthSession: 2, tpm2.TPMCCLoad: 1,
	tpm2.TPMCCSign: 1, tpm2.TPMCCCreate: 1, tpm2.TPMCCObjectChangeAuth: 2, tpm2.TPMCCContextSave: 1,
	tpm2.TPMCCGetCapability: 0, tpm2.TPMCCTestParms: 0, tpm2.TPMCCContextLoad: 0,
}

// carryOut brings back what the command uses, has it carried out, and takes
// everything out of the TPM again.
func (s *space) carryOut(command []byte) (answer []byte, err error) {
	code := codeOf(command)
	if code == tpm2.TPMCCFlushContext {
		return s.flush(command)
	}
	handles, known := handleCounts[code]
	if !known {
		return nil, errors.New("unknown")
	}
	s.loaded = map[uint32]uint32{}
	at := 10
	for range handles {
		if err := s.bring(command[at : at+4]); err != nil {
			return nil, err
		}
		at += 4
	}
	if binary.BigEndian.Uint16(command) == uint16(tpm2.TPMSTSessions) {
		// The first session; ours use one.
		if err := s.bring(command[at+4 : at+8]); err != nil {
			return nil, err
		}
	}
	answer, err = s.tpm.send(command)
	if err != nil {
		return nil, err
	}
	return answer, s.takeOut(code, answer)
}

// bring loads what a handle of the client means and puts the TPM's in its place.
func (s *space) bring(handle []byte) error {
	h := binary.BigEndian.Uint32(handle)
	saved, isSession := s.sessions[h]
	if !isSession {
		var isObject bool
		if saved, isObject = s.objects[h]; !isObject || s.loaded[h] != 0 {
			if s.loaded[h] != 0 {
				binary.BigEndian.PutUint32(handle, s.loaded[h])
			}
			return nil // permanent, persistent, or none of the client's: the TPM says so
		}
	}
	answer, err := s.command(tpm2.TPMCCContextLoad, saved)
	if err != nil {
		return err
	}
	real := binary.BigEndian.Uint32(answer[10:])
	if !isSession {
		s.loaded[h] = real
		binary.BigEndian.PutUint32(handle, real)
	}
	return nil
}

// takeOut saves and unloads everything, and gives the client a handle of its own for
// what the command has made.
func (s *space) takeOut(code tpm2.TPMCC, answer []byte) error {
	if binary.BigEndian.Uint32(answer[6:]) == 0 {
		switch code {
		case tpm2.TPMCCStartAuthSession:
			s.sessions[binary.BigEndian.Uint32(answer[10:])] = nil
		case tpm2.TPMCCCreatePrimary, tpm2.TPMCCLoad, tpm2.TPMCCContextLoad:
			s.loaded[s.next] = binary.BigEndian.Uint32(answer[10:])
			binary.BigEndian.PutUint32(answer[10:], s.next)
			s.next--
		}
	}
	for h, real := range s.loaded {
		context, err := s.command(tpm2.TPMCCContextSave, binary.BigEndian.AppendUint32(nil, real))
		if err != nil {
			return err
		}
		s.objects[h] = context[10:]
		if _, err := s.tpm.send(flushCommand(real)); err != nil {
			return err
		}
	}
	for h := range s.sessions {
		if context, err := s.command(tpm2.TPMCCContextSave, binary.BigEndian.AppendUint32(nil, h)); err == nil {
			s.sessions[h] = context[10:]
		} // else it was not loaded
	}
	return nil
}

func (s *space) flush(command []byte) ([]byte, error) {
	h := binary.BigEndian.Uint32(command[10:])
	if _, isObject := s.objects[h]; isObject {
		delete(s.objects, h)
		return []byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0}, nil
	}
	delete(s.sessions, h)
	return s.tpm.send(command)
}

// command sends a command without sessions and fails unless it succeeds.
func (s *space) command(code tpm2.TPMCC, content []byte) ([]byte, error) {
	command := binary.BigEndian.AppendUint32([]byte{0x80, 0x01}, uint32(10+len(content)))
	command = binary.BigEndian.AppendUint32(command, uint32(code))
	answer, err := s.tpm.send(append(command, content...))
	if err == nil && binary.BigEndian.Uint32(answer[6:]) != 0 {
		err = tpm2.TPMRC(binary.BigEndian.Uint32(answer[6:]))
	}
	return answer, err
}

func flushCommand(h uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x65}, h)
}
