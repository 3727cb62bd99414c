package agent

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// budget bounds the memory for what clients send. Small messages are free, so
// that large ones never hold them up: connections bound their number.
type budget struct{ total *semaphore.Weighted }

func newBudget(size int64) budget { return budget{semaphore.NewWeighted(size)} }

// reserve waits for room for n bytes.
func (b budget) reserve(ctx context.Context, n int) (release func(), err error) {
	if n <= limits.AgentFreeFrame {
		return func() {}, nil
	}
	if err := b.total.Acquire(ctx, int64(n)); err != nil {
		return nil, fmt.Errorf("no memory for a message of %d bytes: %w", n, context.Cause(ctx))
	}
	return func() { b.total.Release(int64(n)) }, nil
}

// frame is one message of the ssh-agent protocol (RFC 9987, section 3).
type frame struct {
	kind    byte
	body    []byte
	release func() // clears it and gives its memory back to the budget
}

// headerSize is the size of a message's length.
const headerSize = 4

var errFraming = errors.New("bad message length")

// frameReader reads the messages of a connection. A small one that comes whole is one
// system call.
type frameReader struct {
	conn   net.Conn
	in     *bufio.Reader
	budget budget
}

func newFrameReader(c net.Conn, b budget) *frameReader {
	return &frameReader{c, bufio.NewReaderSize(c, limits.AgentBuffer), b}
}

// next reads one message. Between messages a client may be silent for ever; once one
// has begun it has [limits.AgentFrameTime] to end. The length is judged before memory
// is given. io.EOF is a clean end.
func (r *frameReader) next(ctx context.Context) (frame, error) {
	if _, err := r.in.Peek(1); err != nil {
		return frame{}, err
	}
	deadline := time.Now().Add(limits.AgentFrameTime)
	if !r.whole() {
		if err := r.conn.SetReadDeadline(deadline); err != nil {
			return frame{}, err
		}
		defer r.conn.SetReadDeadline(time.Time{})
	}
	header, err := r.in.Peek(headerSize)
	if err != nil {
		return frame{}, cut(err)
	}
	length := binary.BigEndian.Uint32(header)
	if length == 0 || length > limits.AgentFrame {
		return frame{}, fmt.Errorf("%w: %d", errFraming, length)
	}
	if length > limits.AgentFreeFrame {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	release, err := r.budget.reserve(ctx, int(length))
	if err != nil {
		return frame{}, err
	}
	data := make([]byte, headerSize+length)
	forget := func() {
		clear(data) // a private key, a passphrase, or the PIN of a card that we refuse
		release()
	}
	if err := r.read(data); err != nil {
		forget()
		return frame{}, cut(err)
	}
	return frame{kind: data[headerSize], body: data[headerSize+1:], release: forget}, nil
}

// read fills data and leaves nothing of it in the buffer: it may be a private key.
func (r *frameReader) read(data []byte) error {
	held, err := r.in.Peek(min(len(data), r.in.Buffered()))
	if err != nil {
		return err
	}
	n := copy(data, held)
	clear(held)
	if _, err := r.in.Discard(n); err != nil {
		return err
	}
	// What is left now, the buffer has none of.
	_, err = io.ReadFull(r.conn, data[n:])
	return err
}

// whole says whether the next message is here to its end.
func (r *frameReader) whole() bool {
	have := r.in.Buffered()
	if have < headerSize {
		return false
	}
	header, _ := r.in.Peek(headerSize) // of what is here
	return uint64(have) >= headerSize+uint64(binary.BigEndian.Uint32(header))
}

// ended reads ahead as far as the buffer goes, and says whether the stream ended
// there. A read deadline ends it, too.
func (r *frameReader) ended() bool {
	for {
		_, err := r.in.Peek(r.in.Buffered() + 1)
		if err != nil {
			return !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

// clear forgets what was read ahead: it may be a private key.
func (r *frameReader) clear() {
	ahead, _ := r.in.Peek(r.in.Buffered())
	clear(ahead)
}

// cut makes an end inside a message an error.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// writeFrame writes an answer in one piece.
func writeFrame(c net.Conn, answer []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(limits.AgentFrameTime)); err != nil {
		return err
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, headerSize+len(answer)), uint32(len(answer)))
	_, err := c.Write(append(out, answer...))
	return err
}
