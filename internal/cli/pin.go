package cli

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

// terminal asks at the terminal, or is nil if there is none to ask at.
func (a *app) terminal() prompt.Prompter {
	if f, ok := a.In.(*os.File); ok && !a.noPrompt && term.IsTerminal(int(f.Fd())) {
		return prompt.NewTerminal()
	}
	return nil
}

// newPIN asks twice for a new PIN.
func newPIN(p prompt.Prompter, title string) key.LendFunc {
	return func(ctx context.Context, use func([]byte) error) error {
		question := prompt.Prompt{Title: title}
		for range limits.PINPrompts {
			problem, err := askTwice(ctx, p, question, use)
			if problem == "" || err != nil {
				return err
			}
			question.Error = problem
		}
		return fmt.Errorf("no PIN was chosen: %w", key.ErrDenied)
	}
}

// askTwice lends the PIN to use if the person types it twice the same; otherwise
// it says what was wrong.
func askTwice(ctx context.Context, p prompt.Prompter, question prompt.Prompt, use func([]byte) error) (problem string, err error) {
	first, err := p.PIN(ctx, question)
	if err != nil {
		return "", fmt.Errorf("%w: %w", key.ErrDenied, err)
	}
	defer first.Wipe()
	if first.Len() > limits.TPMPIN {
		return fmt.Sprintf("A PIN has at most %d bytes.", limits.TPMPIN), nil
	}
	second, err := p.PIN(ctx, prompt.Prompt{Title: "Enter the new PIN once more."})
	if err != nil {
		return "", fmt.Errorf("%w: %w", key.ErrDenied, err)
	}
	defer second.Wipe()
	same := false
	err = first.Use(func(a []byte) error {
		return second.Use(func(b []byte) error {
			same = subtle.ConstantTimeCompare(a, b) == 1
			return nil
		})
	})
	if err != nil {
		return "", err
	}
	if !same {
		return "The two PINs were not the same.", nil
	}
	return "", first.Use(use)
}

// readPIN reads a PIN from a file descriptor.
func (a *app) readPIN(fd int) (*secret.Buffer, error) {
	pin, err := a.readLine(fd, "PIN", limits.SecretOctets)
	return pin, hint.Wrap(err, fmt.Sprintf("write one line of at most %d bytes to it", limits.TPMPIN))
}

// readLine reads one line from a file descriptor into locked memory.
func (a *app) readLine(fd int, what string, limit int) (*secret.Buffer, error) {
	f, done, err := descriptor(fd, what)
	if err != nil {
		return nil, err
	}
	defer done()
	r, stop := a.untilStopped(f)
	defer stop()
	line, err := secret.Read(&lineReader{r: r}, limit)
	if errors.Is(err, context.Canceled) {
		return nil, err
	}
	if err != nil {
		return nil, usageError(fmt.Errorf("read the %s from file descriptor %d: %w", what, fd, err))
	}
	return line, nil
}

// lineReader ends at the first line feed. It reads byte by byte: what follows is
// not ours.
type lineReader struct {
	r    io.Reader
	done bool
}

// Read implements [io.Reader].
func (l *lineReader) Read(p []byte) (int, error) {
	if l.done || len(p) == 0 {
		return 0, io.EOF
	}
	n, err := l.r.Read(p[:1])
	if n == 1 && p[0] == '\n' {
		l.done = true
		return 0, io.EOF
	}
	return n, err
}

// adviseFD tells scripts how to give the PIN that nobody could be asked for.
func adviseFD(err error, advice string) error {
	if errors.Is(err, key.ErrDenied) {
		return hint.Wrap(err, advice)
	}
	return err
}

// lend makes a [key.LendFunc] of a buffer that its owner wipes.
func lend(pin *secret.Buffer) key.LendFunc {
	return func(_ context.Context, use func([]byte) error) error { return pin.Use(use) }
}
