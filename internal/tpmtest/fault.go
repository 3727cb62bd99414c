package tpmtest

import (
	"encoding/binary"
	"io"
	"net"

	"github.com/google/go-tpm/tpm2"
)

// Kind is what goes wrong.
type Kind int

// The faults that can be ordered.
const (
	FailBefore Kind = iota // hang up instead of carrying the command out
	FailAfter              // carry it out, then hang up without an answer
	Cut                    // carry it out, hang up in the middle of the answer
	Split                  // answer one byte at a time: no fault, but unusual
	Answer                 // do not carry it out; answer with Code
	Garble                 // carry it out; flip a bit at the end of the answer
	Wedge                  // never answer; the client must give up
	Change                 // carry it out; answer what Edit makes of the answer

	PowerCutBefore // the TPM loses power instead of carrying it out, and comes back
	PowerCutAfter  // it loses power before it can answer, and comes back
	ResetBefore    // the TPM is reset in order, as by suspend, then carries it out
	ResetAfter     // it is reset in order before the client has the answer
)

// Fault is one kind of trouble with some commands.
type Fault struct {
	On    tpm2.TPMCC // which commands; 0: any
	Kind  Kind
	Code  tpm2.TPMRC                 // of Answer
	Edit  func(answer []byte) []byte // of Change
	Times int                        // how often; 0 means once
	Skip  int                        // after how many such commands
	Then  func()                     // runs before the client can know; may be nil
}

// Inject orders a fault. Faults come in the order in which they were ordered.
func (m *TPM) Inject(f Fault) {
	f.Times = max(f.Times, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, &f)
}

// nextFault takes the first fault that is for a command. The caller holds mu.
func (m *TPM) nextFault(code tpm2.TPMCC) *Fault {
	for _, f := range m.faults {
		switch {
		case f.Times == 0 || f.On != 0 && f.On != code:
		case f.Skip > 0:
			f.Skip--
		default:
			f.Times--
			return f
		}
	}
	return nil
}

// ResetLockout sets the lockout counter to 0, as an administrator does.
func (m *TPM) ResetLockout() {
	m.t.Helper()
	command := []byte{
		0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x39, // TPM2_DictionaryAttackLockReset
		0x40, 0, 0, 0x0A, 0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0, // by lockoutAuth, which is empty
	}
	if answer, err := m.Send(command); err != nil || binary.BigEndian.Uint32(answer[6:]) != 0 {
		m.t.Fatalf("reset the lockout: %x, %v", answer, err)
	}
}

// Calm takes back what was ordered and has not come.
func (m *TPM) Calm() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = nil
}

// executes says whether the TPM gets to see the command.
func (f *Fault) executes() bool {
	switch f.Kind {
	case FailBefore, Answer, Wedge, PowerCutBefore:
		return false
	}
	return true
}

// before and after do to the TPM what was ordered. The caller holds mu.
func (f *Fault) before(m *TPM) error {
	switch f.Kind {
	case PowerCutBefore:
		return m.restart(false)
	case ResetBefore:
		return m.restart(true)
	}
	return nil
}

func (f *Fault) after(m *TPM) error {
	switch f.Kind {
	case PowerCutAfter:
		return m.restart(false)
	case ResetAfter:
		return m.restart(true)
	}
	return nil
}

// answer does what was ordered instead of passing the answer on.
func (f *Fault) answer(c net.Conn, answer []byte) (ok bool) {
	switch f.Kind {
	case Cut:
		c.Write(answer[:len(answer)/2])
		return false
	case Split:
		for _, octet := range answer {
			if _, err := c.Write([]byte{octet}); err != nil {
				return false
			}
		}
		return true
	case Answer:
		canned := []byte{0x80, 0x01, 0, 0, 0, 10}
		_, err := c.Write(binary.BigEndian.AppendUint32(canned, uint32(f.Code)))
		return err == nil
	case Garble:
		answer[len(answer)-1] ^= 1
		_, err := c.Write(answer)
		return err == nil
	case Change:
		_, err := c.Write(f.Edit(answer))
		return err == nil
	case ResetBefore, ResetAfter:
		_, err := c.Write(answer)
		return err == nil
	case Wedge:
		io.Copy(io.Discard, c) // until the client hangs up
	}
	return false
}
