package prompt

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
)

// terminal asks on a terminal.
type terminal struct{ path string }

var _ Prompter = (*terminal)(nil)

// NewTerminal asks on the terminal of this process, /dev/tty.
func NewTerminal() Prompter { return &terminal{"/dev/tty"} }

// Confirm implements [Prompter].
func (t *terminal) Confirm(ctx context.Context, p Prompt) error {
	answer, n, err := t.ask(ctx, p, "Yes or no: ", true)
	if err != nil {
		return err
	}
	defer answer.Wipe()
	return answer.Use(func(text []byte) error {
		if bytes.EqualFold(text[:n], []byte("y")) || bytes.EqualFold(text[:n], []byte("yes")) {
			return nil
		}
		return ErrCancelled
	})
}

// PIN implements [Prompter].
func (t *terminal) PIN(ctx context.Context, p Prompt) (*secret.Buffer, error) {
	answer, n, err := t.ask(ctx, p, cmp.Or(p.Secret, "PIN")+": ", false)
	if err != nil {
		return nil, err
	}
	return shrink(answer, n)
}

// ask prints the prompt and reads one line.
func (t *terminal) ask(ctx context.Context, p Prompt, question string, echo bool) (_ *secret.Buffer, n int, err error) {
	text, err := p.whole()
	if err != nil {
		return nil, 0, err
	}
	f, err := os.OpenFile(t.path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer f.Close()
	restore, err := raw(f)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %s: %w", ErrUnavailable, t.path, err)
	}
	defer func() { err = errors.Join(err, restore()) }()
	// Ends a waiting Read. Where terminals have no deadlines (macOS), the
	// next key does.
	defer context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })()
	text += "\n\n" + question
	// A raw terminal does not return the carriage by itself.
	if _, err := f.WriteString(strings.ReplaceAll(text, "\n", "\r\n")); err != nil {
		return nil, 0, err
	}
	b, err := secret.New(limits.PromptPIN)
	if err != nil {
		return nil, 0, err
	}
	err = b.Use(func(line []byte) (err error) {
		n, err = edit(f, line, echo)
		return err
	})
	f.WriteString("\r\n")
	if err == nil {
		return b, n, nil
	}
	b.Wipe()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return nil, 0, err
}

// raw takes the terminal's line editing away: it keeps what is typed in buffers
// that nobody wipes. The file's Fd method would take its deadlines away.
func raw(f *os.File) (restore func() error, err error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var state *term.State
	var termErr error
	err = conn.Control(func(fd uintptr) {
		if state, termErr = term.MakeRaw(int(fd)); termErr != nil {
			return
		}
		if termErr = flush(int(fd)); termErr != nil {
			_ = term.Restore(int(fd), state) // the first error is the one to tell
		}
	})
	if err != nil {
		return nil, err
	}
	if termErr != nil {
		return nil, termErr
	}
	return func() error {
		err := conn.Control(func(fd uintptr) { termErr = term.Restore(int(fd), state) })
		return errors.Join(err, termErr)
	}, nil
}

// edit reads keys into line until the line ends and returns its length.
func edit(f *os.File, line []byte, echo bool) (n int, err error) {
	var last [1]byte
	defer clear(last[:])
	for {
		if _, err := f.Read(last[:]); err != nil {
			return 0, err
		}
		switch c := last[0]; c {
		case '\r', '\n':
			return n, nil
		case 3, 4: // ^C, ^D
			return 0, ErrCancelled
		case 8, 127: // backspace
			if n > 0 {
				n--
				line[n] = 0
				if echo {
					f.WriteString("\b \b")
				}
			}
		default:
			if n == len(line) {
				return 0, errLongPIN
			}
			line[n] = c
			n++
			if echo && c >= ' ' && c <= '~' {
				f.Write(last[:])
			}
		}
	}
}
