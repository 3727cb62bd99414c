package tpm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// headerSize is the size of a command's and of an answer's header: tag, size,
// code (TPM 2.0 part 1, section 18).
const headerSize = 10

// conn is what carries the bytes. Its deadline ends a Read and a Write.
type conn interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// link is an open connection to a TPM.
type link struct {
	conn
	// after runs after the connection is closed; nil: nothing to do.
	after func() error
}

// lostError is a connection that cannot be used any more: nobody knows where in
// the stream it is, nor which handles are alive.
type lostError struct {
	sent bool // the TPM may have carried out the command
	err  error
}

// Error implements error.
func (e *lostError) Error() string { return "connection to the TPM lost: " + e.err.Error() }

// Unwrap gives errors.Is the cause.
func (e *lostError) Unwrap() error { return e.err }

// exchange sends one command and reads its whole answer, within limit and until
// cut ends. Every error is a *lostError.
func (l *link) exchange(cut context.Context, command []byte, limit time.Duration) ([]byte, error) {
	if err := l.SetDeadline(time.Now().Add(limit)); err != nil {
		return nil, &lostError{false, err}
	}
	defer context.AfterFunc(cut, func() { l.SetDeadline(time.Unix(1, 0)) })()
	if n, err := l.Write(command); err != nil {
		return nil, &lostError{n > 0, err}
	}
	answer, err := readAnswer(l.conn)
	switch {
	case err != nil && cut.Err() != nil:
		err = fmt.Errorf("closed before it answered: %w", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("no answer within %v: %w", limit, err)
	}
	if err != nil {
		return nil, &lostError{true, err}
	}
	return answer, nil
}

// readAnswer reads exactly one answer. It asks for more than it needs: old
// kernels drop what a first, short read of a device leaves, and bytes after the
// answer show that the stream is out of step.
func readAnswer(r io.Reader) ([]byte, error) {
	buf := make([]byte, limits.TPMFrame)
	have, size := 0, headerSize
	for have < size {
		n, err := r.Read(buf[have:])
		have += n
		if have >= headerSize {
			claimed := binary.BigEndian.Uint32(buf[2:6])
			if claimed < headerSize || claimed > limits.TPMFrame {
				return nil, fmt.Errorf("answer claims %d bytes", claimed)
			}
			size = int(claimed)
		}
		if have < size && (err != nil || n == 0) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	if have > size {
		return nil, fmt.Errorf("%d bytes after the answer", have-size)
	}
	return buf[:size], nil
}

// shut closes the connection and does what is left to do.
func (l *link) shut() error {
	err := l.Close()
	if l.after != nil {
		err = errors.Join(err, l.after())
	}
	return err
}

// dialUnix connects to a TPM that somebody serves on a unix socket, without the
// framing of the TCG simulator (swtpm socket --server type=unixio).
func dialUnix(path string) (*link, error) {
	c, err := net.DialTimeout("unix", path, limits.TPMDial)
	if err != nil {
		return nil, err
	}
	return &link{conn: c}, nil
}

// commandCode reads the code out of a command's header.
func commandCode(command []byte) tpm2.TPMCC {
	if len(command) < headerSize {
		return 0
	}
	return tpm2.TPMCC(binary.BigEndian.Uint32(command[6:10]))
}

// answerCode reads the code out of an answer that readAnswer accepted.
func answerCode(answer []byte) tpm2.TPMRC {
	return tpm2.TPMRC(binary.BigEndian.Uint32(answer[6:10]))
}
