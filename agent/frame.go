package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
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
	release func() // gives its memory back to the budget
}

var errFraming = errors.New("bad message length")

// readFrame reads one message. Between messages a client may be silent for ever;
// once one has begun it has [limits.AgentFrameTime] to end. The length is judged
// before memory is given. io.EOF is a clean end.
func readFrame(ctx context.Context, c net.Conn, b budget) (frame, error) {
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return frame{}, err
	}
	var header [4]byte
	n, err := io.ReadAtLeast(c, header[:], 1)
	if err != nil {
		return frame{}, err
	}
	deadline := time.Now().Add(limits.AgentFrameTime)
	if err := c.SetReadDeadline(deadline); err != nil {
		return frame{}, err
	}
	if _, err := io.ReadFull(c, header[n:]); err != nil {
		return frame{}, cut(err)
	}
	length := binary.BigEndian.Uint32(header[:])
	if length == 0 || length > limits.AgentFrame {
		return frame{}, fmt.Errorf("%w: %d", errFraming, length)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	release, err := b.reserve(ctx, int(length))
	if err != nil {
		return frame{}, err
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(c, data); err != nil {
		release()
		return frame{}, cut(err)
	}
	return frame{kind: data[0], body: data[1:], release: release}, nil
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
	out := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(answer)), uint32(len(answer)))
	_, err := c.Write(append(out, answer...))
	return err
}
