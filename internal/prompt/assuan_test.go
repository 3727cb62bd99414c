package prompt

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// exchange has the client read a server's stream and returns the data in it.
func exchange(t *testing.T, stream []byte) (data []byte, err error) {
	t.Helper()
	var sent bytes.Buffer
	a, err := newAssuan(iotest.OneByteReader(bytes.NewReader(stream)), &sent)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	err = a.call("GETPIN", func(part []byte) error {
		data = append(data, part...)
		return nil
	})
	if sent.String() != "GETPIN\n" {
		t.Fatalf("sent %q", sent.String())
	}
	return data, err
}

func TestCommandCannotBeSplit(t *testing.T) {
	var sent bytes.Buffer
	a, err := newAssuan(strings.NewReader("OK\nOK\n"), &sent)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for _, command := range []string{"SETDESC a\nGETPIN", "SETDESC a\rb", strings.Repeat("x", limits.AssuanLine+1)} {
		if err := a.call(command, nil); err == nil || sent.Len() > 0 {
			t.Errorf("sent %q, %v", sent.String(), err)
		}
	}
}

// FuzzAssuan checks that a stream that is accepted has data of bounded size which
// means the same when it is encoded again, and that errors are of known kinds.
func FuzzAssuan(f *testing.F) {
	for _, seed := range []string{
		"OK\n", "OK Pleased to meet you\n", "D 1234\nOK\n", "D %25%0A\nD x\nOK\n", "ERR 83886179 cancelled\n",
		"# comment\nS status\nOK\n", "D 12%\nOK\n", "ERR\n", "ERR 4294967296\n", "INQUIRE x\n", "D\nOK\n", "OK",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		data, err := exchange(t, stream)
		if err != nil {
			var server *serverError
			if !errors.As(err, &server) && !errors.Is(err, errProtocol) {
				t.Fatalf("%q: %v", stream, err)
			}
			return
		}
		var again bytes.Buffer
		for part := range slices.Chunk(data, limits.AssuanLine/4) {
			again.WriteString("D " + escape(string(part)) + "\n")
		}
		again.WriteString("OK\n")
		if bytes.Count(again.Bytes(), []byte("\n")) > limits.AssuanLines {
			return
		}
		got, err := exchange(t, again.Bytes())
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%q became %q, %v", data, got, err)
		}
	})
}
