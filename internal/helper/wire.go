package helper

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
)

// verb is what a message is about.
type verb byte

const (
	verbAnswer     verb = iota + 1
	verbPIN             // question -> PIN
	verbConfirm         // question
	verbChain           // process, with its descriptor -> chain
	verbStartSWTPM      // -> socket
	verbEndSWTPM        // its socket is closed
	verbAsks            // asking -> who
	verbCancel          // the request of that number; has no answer of its own
)

// message is what goes over the line.
type message struct {
	verb verb
	id   uint32         // of the request, also in its answer
	text []byte         // JSON; may be empty
	pin  *secret.Buffer // nil: none
	file *os.File       // nil: none
}

// drop gives back what the message carries.
func (m message) drop() {
	if m.pin != nil {
		m.pin.Wipe()
	}
	if m.file != nil {
		m.file.Close()
	}
}

// headerSize is that of verb, id, length of text and length of PIN.
const headerSize = 1 + 4 + 4 + 2

var errLine = errors.New("line between agent and helper")

// line is one end. Any number of goroutines may send; one receives.
type line struct {
	conn *net.UnixConn
	mu   sync.Mutex // one message at a time
}

// send sends a message, and leaves what it carries to the caller. After an error the
// line is closed: nobody knows where in the stream it is.
func (l *line) send(m message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.write(m)
	if err != nil {
		l.conn.Close()
		return fmt.Errorf("%w: send: %w", errLine, err)
	}
	return nil
}

func (l *line) write(m message) error {
	if len(m.text) > limits.HelperText {
		return fmt.Errorf("message of %d bytes", len(m.text))
	}
	if err := l.conn.SetWriteDeadline(time.Now().Add(limits.HelperSend)); err != nil {
		return err
	}
	data := make([]byte, 0, headerSize+len(m.text))
	data = append(data, byte(m.verb))
	data = binary.BigEndian.AppendUint32(data, m.id)
	data = binary.BigEndian.AppendUint32(data, uint32(len(m.text)))
	size := 0
	if m.pin != nil {
		size = m.pin.Len()
	}
	data = binary.BigEndian.AppendUint16(data, uint16(size))
	data = append(data, m.text...)
	n, err := l.writeWith(data, m.file)
	if err == nil {
		_, err = l.conn.Write(data[n:])
	}
	if err == nil && m.pin != nil {
		err = m.pin.Use(func(pin []byte) error {
			_, err := l.conn.Write(pin)
			return err
		})
	}
	return err
}

// writeWith writes what there is room for, and with it the descriptor of a file.
func (l *line) writeWith(data []byte, file *os.File) (n int, err error) {
	if file == nil {
		return 0, nil
	}
	raw, err := file.SyscallConn() // Fd would make the file block
	if err != nil {
		return 0, err
	}
	var writeErr error
	err = raw.Control(func(fd uintptr) { n, _, writeErr = l.conn.WriteMsgUnix(data, syscall.UnixRights(int(fd)), nil) })
	return n, errors.Join(err, writeErr)
}

// receive reads the next message; the caller drops it. [io.EOF] is the end between
// two messages.
func (l *line) receive() (m message, err error) {
	defer func() {
		if err != nil {
			m.drop()
			m = message{}
			if err != io.EOF {
				err = fmt.Errorf("%w: receive: %w", errLine, err)
			}
		}
	}()
	var header [headerSize]byte
	if m.file, err = l.readHeader(&header); err != nil {
		return m, err
	}
	m.verb, m.id = verb(header[0]), binary.BigEndian.Uint32(header[1:])
	size, pin := binary.BigEndian.Uint32(header[5:]), int(binary.BigEndian.Uint16(header[9:]))
	if size > limits.HelperText || pin > limits.PromptPIN {
		return m, fmt.Errorf("message of %d bytes and a PIN of %d", size, pin)
	}
	m.text = make([]byte, size)
	if _, err = io.ReadFull(l.conn, m.text); err != nil {
		return m, cut(err)
	}
	if pin == 0 {
		return m, nil
	}
	if m.pin, err = secret.New(pin); err != nil {
		return m, err
	}
	return m, m.pin.Use(func(b []byte) error {
		_, err := io.ReadFull(l.conn, b)
		return cut(err)
	})
}

// readHeader reads a header and the descriptor that came with it, if one did.
func (l *line) readHeader(header *[headerSize]byte) (file *os.File, err error) {
	// Room for two shows a second one.
	oob := make([]byte, syscall.CmsgSpace(2*4))
	n, oobn, flags, _, err := l.conn.ReadMsgUnix(header[:], oob)
	if errors.Is(err, io.EOF) {
		return nil, io.EOF // without the name of what was read
	}
	if err != nil {
		return nil, err
	}
	if file, err = fileIn(oob[:oobn]); err != nil {
		return nil, err
	}
	if flags&syscall.MSG_CTRUNC != 0 {
		return file, errors.New("too many descriptors")
	}
	_, err = io.ReadFull(l.conn, header[n:])
	return file, cut(err)
}

// cut is the error of an end in the middle of a message.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fileIn is the descriptor among the control data of a message, or nil.
func fileIn(oob []byte) (*os.File, error) {
	all, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, one := range all {
		got, err := syscall.ParseUnixRights(&one)
		if err != nil {
			return nil, err
		}
		fds = append(fds, got...)
	}
	switch len(fds) {
	case 0:
		return nil, nil
	case 1:
		return os.NewFile(uintptr(fds[0]), "passed"), nil
	}
	for _, fd := range fds {
		syscall.Close(fd)
	}
	return nil, fmt.Errorf("%d descriptors", len(fds))
}

// decode parses the text of a message strictly.
func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, end := d.Token(); end != io.EOF {
			err = errors.New("more after the end")
		}
	}
	if err != nil {
		return fmt.Errorf("%w: text: %w", errLine, err)
	}
	return nil
}
