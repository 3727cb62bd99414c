package prompt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
)

var errProtocol = errors.New("pinentry does not speak the Assuan protocol")

// assuan is the client's side of the Assuan protocol
// (https://www.gnupg.org/documentation/manuals/assuan/). What the server sends
// is never outside locked memory.
type assuan struct {
	r   io.Reader
	w   io.Writer
	buf *secret.Buffer
	n   int // bytes in buf
}

func newAssuan(r io.Reader, w io.Writer) (*assuan, error) {
	buf, err := secret.New(limits.AssuanLine + 1)
	if err != nil {
		return nil, err
	}
	return &assuan{r: r, w: w, buf: buf}, nil
}

func (a *assuan) close() { a.buf.Wipe() }

// serverError is an ERR line.
type serverError struct {
	code int
	text string
}

// Error implements error.
func (e *serverError) Error() string {
	return fmt.Sprintf("pinentry: %.200q (code %d)", e.text, e.code)
}

// code is an error of libgpg-error; its upper bits name the source.
func (e *serverError) reason() int { return e.code & 0xffff }

// call sends a command, unless it is empty, and reads lines until OK or ERR. Each
// data line is decoded and lent to data; without data such a line is an error.
func (a *assuan) call(command string, data func(part []byte) error) error {
	if command != "" {
		if len(command) > limits.AssuanLine || strings.ContainsAny(command, "\r\n") {
			return fmt.Errorf("pinentry command of %d bytes", len(command))
		}
		if _, err := io.WriteString(a.w, command+"\n"); err != nil {
			return err
		}
	}
	for range limits.AssuanLines {
		var done bool
		err := a.line(func(line []byte) (err error) {
			done, err = response(line, data)
			return err
		})
		if done || err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: no answer in %d lines", errProtocol, limits.AssuanLines)
}

// line lends the next line without its end to f.
func (a *assuan) line(f func(line []byte) error) error {
	return a.buf.Use(func(b []byte) error {
		for {
			if end := bytes.IndexByte(b[:a.n], '\n'); end >= 0 {
				err := f(b[:end])
				copy(b, b[end+1:a.n])
				clear(b[a.n-end-1 : a.n])
				a.n -= end + 1
				return err
			}
			if a.n == len(b) {
				return fmt.Errorf("%w: line longer than %d bytes", errProtocol, limits.AssuanLine)
			}
			n, err := a.r.Read(b[a.n:])
			a.n += n
			if n == 0 && err != nil {
				if err == io.EOF {
					return fmt.Errorf("%w: it ended without an answer", errProtocol)
				}
				return fmt.Errorf("read from pinentry: %w", err)
			}
		}
	})
}

// response handles one line of the server; done says that it was the last of an
// answer.
func response(line []byte, data func(part []byte) error) (done bool, err error) {
	word, rest, _ := bytes.Cut(line, []byte(" "))
	switch {
	case bytes.HasPrefix(word, []byte("#")) || string(word) == "S":
		return false, nil
	case string(word) == "OK":
		return true, nil
	case string(word) == "ERR":
		number, text, _ := bytes.Cut(rest, []byte(" "))
		code, err := strconv.ParseUint(string(number), 10, 32)
		if err != nil || code == 0 {
			return true, fmt.Errorf("%w: error code %.20q", errProtocol, number)
		}
		return true, &serverError{int(code), string(text)}
	case string(word) == "D" && data != nil:
		part, err := unescape(rest)
		if err != nil {
			return true, err
		}
		return false, data(part)
	}
	// The line may hold a PIN: do not repeat it.
	return true, fmt.Errorf("%w: unexpected line of %d bytes", errProtocol, len(line))
}

// unescape decodes a data line in place.
func unescape(b []byte) ([]byte, error) {
	n := 0
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c == '%' {
			if len(b)-i < 3 {
				return nil, fmt.Errorf("%w: cut escape", errProtocol)
			}
			var one [1]byte
			if _, err := hex.Decode(one[:], b[i+1:i+3]); err != nil {
				return nil, fmt.Errorf("%w: escape", errProtocol)
			}
			c = one[0]
			i += 2
		}
		b[n] = c
		n++
	}
	return b[:n], nil
}

// escape encodes text for a command.
var escape = strings.NewReplacer("%", "%25", "\n", "%0A", "\r", "%0D").Replace
