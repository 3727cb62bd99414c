package agent

import (
	"bytes"
	"net"
	"testing"
)

// TestMessagesAreCleared: also those that are refused unread, as a locked agent does.
func TestMessagesAreCleared(t *testing.T) {
	pins := NewPINs(&person{})
	defer pins.Close()
	s := NewServer(Config{PINs: pins})
	client := sshConn{Server: s}
	const addCard = 20 // with its PIN
	for _, kind := range []byte{addCard, agentAddIdentity, agentAddConstrained} {
		if kind != addCard && s.locked() == nil {
			if err := s.Lock([]byte("p")); err != nil {
				t.Fatal(err)
			}
		}
		body := []byte("secret")
		if err := client.change(t.Context(), frame{kind: kind, body: body}); err == nil {
			t.Errorf("message %d is served", kind)
		}
		if !bytes.Equal(body, make([]byte, len(body))) {
			t.Errorf("message %d stays in memory", kind)
		}
	}
}

// TestNothingStaysInTheBuffer: messages may hold private keys.
func TestNothingStaysInTheBuffer(t *testing.T) {
	for _, size := range []int{10, 4000, 4096, 5000, 20000} {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { ours.Close(); theirs.Close() })
		message := append([]byte{agentAddIdentity}, bytes.Repeat([]byte("secret"), size/6)...)
		go func() {
			writeFrame(theirs, message)
			theirs.Write([]byte{0})
		}()
		r := newFrameReader(ours, newBudget(1<<20))
		f, err := r.next(t.Context())
		if err != nil || !bytes.Equal(f.body, message[1:]) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		// The next byte shows the whole of the buffer.
		held, err := r.in.Peek(1)
		if err != nil || bytes.Contains(held[:cap(held)], []byte("secret")) {
			t.Errorf("%d bytes: the buffer still has them, %v", size, err)
		}
	}
}
