package prompt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
)

// askpass runs a program of OpenSSH's convention (ssh(1), SSH_ASKPASS): the text
// is its argument, the answer is its standard output.
type askpass struct{ path string }

var _ Prompter = (*askpass)(nil)

// Confirm implements [Prompter]. As in ssh-agent, yes is an exit status of zero
// with no output, or with "yes".
func (a *askpass) Confirm(ctx context.Context, p Prompt) error {
	answer, n, err := a.run(ctx, p, "SSH_ASKPASS_PROMPT=confirm")
	if err != nil {
		return err
	}
	defer answer.Wipe()
	return answer.Use(func(text []byte) error {
		if n == 0 || bytes.EqualFold(text[:n], []byte("yes")) {
			return nil
		}
		return ErrCancelled
	})
}

// PIN implements [Prompter].
func (a *askpass) PIN(ctx context.Context, p Prompt) (*secret.Buffer, error) {
	answer, n, err := a.run(ctx, p)
	if err != nil {
		return nil, err
	}
	return shrink(answer, n)
}

// run returns what the program wrote and the length of its first line.
func (a *askpass) run(ctx context.Context, p Prompt, env ...string) (_ *secret.Buffer, n int, err error) {
	text, err := p.whole()
	if err != nil {
		return nil, 0, err
	}
	if strings.HasPrefix(text, "-") {
		// To a program that draws windows, --gtk-module=FILE is no text. None of our own
		// sentences begins so, but the helper asks for an agent that may not be ours any more.
		return nil, 0, fmt.Errorf("%w: SSH_ASKPASS would take the question for an option", ErrUnavailable)
	}
	cmd := exec.Command(a.path, text)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, 0, err
	}
	running, err := start(ctx, cmd, out)
	if err != nil {
		return nil, 0, hint.Wrap(fmt.Errorf("%w: start SSH_ASKPASS: %w", ErrUnavailable, err),
			"check the environment variable SSH_ASKPASS of the agent")
	}
	answer, n, readErr := readLine(out)
	out.Close() // who has more to say is not heard
	waitErr := running.wait()
	defer func() {
		if err != nil && answer != nil {
			answer.Wipe()
		}
	}()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, 0, context.Cause(ctx)
	case readErr != nil:
		return nil, 0, readErr
	case errors.As(waitErr, &exit) && exit.Exited():
		return nil, 0, ErrCancelled
	case exit != nil: // by a signal, which is nobody's no
		return nil, 0, fmt.Errorf("%w: SSH_ASKPASS ended: %w", ErrUnavailable, waitErr)
	case waitErr != nil:
		return nil, 0, waitErr
	}
	return answer, n, nil
}

// readLine reads to the end, straight into locked memory, and returns the length
// of the first line. The buffer is returned with an error too, unless it is nil.
func readLine(r io.Reader) (b *secret.Buffer, n int, err error) {
	// The line end may have two bytes; one more shows that it is too long.
	b, err = secret.New(limits.PromptPIN + 3)
	if err != nil {
		return nil, 0, err
	}
	err = b.Use(func(text []byte) error {
		got, err := io.ReadFull(r, text)
		n = got
		if i := bytes.IndexAny(text[:got], "\r\n"); i >= 0 {
			n = i
		}
		switch {
		case n > limits.PromptPIN || err == nil:
			return errLongPIN
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		}
		return err
	})
	return b, n, err
}
