package helper

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/prompt"
)

// raw is a message as it is on the wire.
func raw(v verb, id uint32, text string, pin int) []byte {
	b := append([]byte{byte(v)}, binary.BigEndian.AppendUint32(nil, id)...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = binary.BigEndian.AppendUint16(b, uint16(pin))
	return append(b, text...)
}

// TestHostileAgent is what ends the line, and what is only refused.
func TestHostileAgent(t *testing.T) {
	think := `{"Title":"think","Time":60000000000}`
	crowd := []byte{}
	for i := range limits.HelperRequests + 1 {
		crowd = append(crowd, raw(verbConfirm, uint32(i), think, 0)...)
	}
	huge := raw(verbPIN, 1, "", 0)
	binary.BigEndian.PutUint32(huge[5:], limits.HelperText+1)
	for _, c := range []struct {
		name   string
		data   []byte
		files  int
		err    string // of Serve
		answer string // part of the answer
	}{
		{"nothing", nil, 0, "", ""},
		{"half a header", raw(verbPIN, 1, "", 0)[:5], 0, "unexpected EOF", ""},
		{"half a text", raw(verbPIN, 1, "{}", 0)[:12], 0, "unexpected EOF", ""},
		{"long text", huge, 0, "message of 65537 bytes", ""},
		{"long PIN", raw(verbPIN, 1, "", limits.PromptPIN+1), 0, "a PIN of 256", ""},
		{"half a PIN", append(raw(verbPIN, 1, "", 2), 'x'), 0, "unexpected EOF", ""},
		{"a number twice", append(raw(verbConfirm, 1, think, 0), raw(verbConfirm, 1, think, 0)...), 0, "request 1 twice", ""},
		{"a crowd", crowd, 0, fmt.Sprintf("more than %d requests", limits.HelperRequests), ""},
		{"two descriptors", raw(verbChain, 1, "{}", 0), 2, "2 descriptors", ""},
		{"many descriptors", raw(verbChain, 1, "{}", 0), 20, "descriptors", ""},
		{"unknown verb", raw(99, 1, "{}", 0), 0, "", "verb 99"},
		{"an answer", raw(verbAnswer, 1, "{}", 0), 0, "", "verb 1"},
		{"cancel nothing", append(raw(verbCancel, 7, "", 0), raw(99, 1, "", 0)...), 0, "", "verb 99"},
		{"no text", raw(verbPIN, 1, "", 0), 0, "", "text: EOF"},
		{"no JSON", raw(verbConfirm, 1, "x", 0), 0, "", "text: invalid"},
		{"a program", raw(verbPIN, 1, `{"Pinentry":"/bin/sh"}`, 0), 0, "", "unknown field"},
		{"a folder", raw(verbConfirm, 1, `{"Title":"yes","Dir":"/"}`, 0), 0, "", "unknown field"},
		{"two texts", raw(verbChain, 1, `{"PID":1}{}`, 0), 0, "", "more after the end"},
		{"a negative process", raw(verbChain, 1, `{"PID":-1}`, 0), 0, "", `"Error"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := sides(t)
			served := make(chan error, 1)
			go func() { served <- Serve(theirs, Services{Prompter: &person{}}) }()
			var fds []int
			for range c.files {
				fds = append(fds, 2)
			}
			if len(c.data) > 0 {
				if _, _, err := ours.WriteMsgUnix(c.data, syscall.UnixRights(fds...), nil); err != nil {
					t.Fatal(err)
				}
			}
			if c.answer != "" {
				l := line{conn: ours}
				m, err := l.receive()
				if err != nil || m.verb != verbAnswer || m.id != 1 || !strings.Contains(string(m.text), c.answer) {
					t.Errorf("%+v %q, %v", m, m.text, err)
				}
			}
			if c.err == "" || strings.Contains(c.err, "EOF") {
				ours.Close()
			}
			if err := <-served; (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("served: %v, want %q", err, c.err)
			}
		})
	}
}

// TestHostileHelper is what an agent takes from its helper.
func TestHostileHelper(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		err  string
		lost bool
	}{
		{"an answer to nothing", raw(verbAnswer, 7, "{}", 0), "lost its helper", true},
		{"a request", raw(verbPIN, 1, "{}", 0), "lost its helper", true},
		{"a long PIN", raw(verbAnswer, 1, "{}", limits.PromptPIN+1), "lost its helper", true},
		{"no PIN", raw(verbAnswer, 1, "{}", 0), "no PIN in the answer", false},
		{"no text", raw(verbAnswer, 1, "", 0), "text: EOF", false},
		{"a PIN and an error", append(raw(verbAnswer, 1, `{"Error":"no"}`, 1), 'x'), "no", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := sides(t)
			lost := make(chan error, 1)
			client := NewClient(ours, func(err error) { lost <- err })
			defer client.Close()
			go func() {
				l := line{conn: theirs}
				if m, err := l.receive(); err == nil {
					m.drop()
					theirs.Write(c.data)
				}
			}()
			_, err := client.PIN(t.Context(), prompt.Prompt{})
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
			if c.lost {
				<-lost
			}
		})
	}
}

// FuzzReceive checks that what is received means the same when it is sent again.
func FuzzReceive(f *testing.F) {
	f.Add(raw(verbConfirm, 1, `{"Title":"yes"}`, 0))
	f.Add(append(raw(verbAnswer, 1<<31, "{}", 4), "1234"...))
	f.Add(raw(verbPIN, 1, "", 0)[:5])
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > limits.HelperText {
			return
		}
		ours, theirs := sides(t)
		go func() {
			ours.Write(data)
			ours.CloseWrite()
		}()
		m, err := (&line{conn: theirs}).receive()
		if err != nil {
			return
		}
		defer m.drop()
		if err := (&line{conn: theirs}).send(m); err != nil {
			t.Fatal(err)
		}
		theirs.CloseWrite()
		again, err := io.ReadAll(ours)
		if err != nil || len(again) > len(data) || string(again) != string(data[:len(again)]) {
			t.Fatalf("%q became %q, %v", data, again, err)
		}
	})
}
