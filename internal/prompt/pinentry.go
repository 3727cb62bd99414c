package prompt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
)

// Reasons of libgpg-error that are an answer rather than a failure.
const (
	gpgTimeout        = 62
	gpgCanceled       = 99
	gpgNotConfirmed   = 114
	gpgFullyCancelled = 198
)

// assuanPrompter starts a pinentry for each question.
type assuanPrompter struct{ path string }

var _ Prompter = (*assuanPrompter)(nil)

// Confirm implements [Prompter].
func (p *assuanPrompter) Confirm(ctx context.Context, q Prompt) error {
	return p.session(ctx, q, func(a *assuan) error { return a.call("CONFIRM", nil) })
}

// PIN implements [Prompter].
func (p *assuanPrompter) PIN(ctx context.Context, q Prompt) (*secret.Buffer, error) {
	typed, err := secret.New(limits.PromptPIN)
	if err != nil {
		return nil, err
	}
	n := 0
	err = p.session(ctx, q, func(a *assuan) error {
		return a.call("GETPIN", func(part []byte) error {
			return typed.Use(func(pin []byte) error {
				if len(part) > len(pin)-n {
					return errLongPIN
				}
				n += copy(pin[n:], part)
				return nil
			})
		})
	})
	if err != nil {
		typed.Wipe()
		return nil, err
	}
	return shrink(typed, n)
}

// session starts pinentry, tells it what to show, and lets ask do the rest.
func (p *assuanPrompter) session(ctx context.Context, q Prompt, ask func(*assuan) error) error {
	cmd := exec.Command(p.path)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	running, err := start(ctx, cmd, out)
	if err != nil {
		return hint.Wrap(fmt.Errorf("%w: start pinentry: %w", ErrUnavailable, err),
			"install pinentry, or name it as pinentry: in config.yaml")
	}
	err = converse(ctx, q, out, in, ask)
	in.Close() // tells pinentry to leave
	grace := limits.PromptExit
	if err != nil {
		grace = 0
	}
	late := time.AfterFunc(grace, running.end)
	// The answer counts, not how pinentry leaves afterwards.
	_ = running.wait()
	late.Stop()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return p.classify(err)
	}
	return nil
}

func converse(ctx context.Context, q Prompt, r io.Reader, w io.Writer, ask func(*assuan) error) error {
	a, err := newAssuan(r, w)
	if err != nil {
		return err
	}
	defer a.close()
	if err := a.call("", nil); err != nil { // the greeting
		return err
	}
	var refused *serverError
	for _, option := range options(ctx) {
		// Older and other pinentries do not know every option.
		if err := a.call(option, nil); err != nil && !errors.As(err, &refused) {
			return err
		}
	}
	description, err := describe(q)
	if err != nil {
		return err
	}
	commands := []string{"SETTITLE sealsmith", "SETDESC " + description, "SETPROMPT PIN:"}
	if q.Error != "" {
		commands = append(commands, "SETERROR "+escape(exact(q.Error)))
	}
	for _, c := range commands {
		if err := a.call(c, nil); err != nil {
			return err
		}
	}
	return ask(a)
}

// options tells pinentry where to ask and for how long.
func options(ctx context.Context) []string {
	var all []string
	for _, o := range []struct{ name, variable string }{
		{"ttyname", "GPG_TTY"}, {"ttytype", "TERM"},
	} {
		if value := os.Getenv(o.variable); value != "" {
			all = append(all, "OPTION "+o.name+"="+escape(value))
		}
	}
	all = append(all, "OPTION lc-ctype="+escape(charset()))
	if deadline, ok := ctx.Deadline(); ok {
		all = append(all, "SETTIMEOUT "+strconv.Itoa(max(1, int(time.Until(deadline).Seconds()))))
	}
	return all
}

// describe fits the text into one command line.
func describe(q Prompt) (string, error) {
	q.Error = "" // has its own place
	text, err := q.fit(func(text string) bool { return len("SETDESC ")+len(escape(text)) <= limits.AssuanLine })
	return escape(text), err
}

// classify tells a person's no from a pinentry that failed.
func (p *assuanPrompter) classify(err error) error {
	var e *serverError
	if errors.As(err, &e) {
		switch e.reason() {
		case gpgCanceled, gpgFullyCancelled, gpgNotConfirmed:
			return ErrCancelled
		case gpgTimeout:
			return fmt.Errorf("%w: nobody answered", ErrCancelled)
		}
	}
	if errors.Is(err, errLongPIN) {
		return err
	}
	return hint.Wrap(fmt.Errorf("%w: %w", ErrUnavailable, err),
		"see whether it works: echo GETPIN | "+p.path)
}

// charset is the locale that says how to show characters (setlocale(3)). In one
// that is not UTF-8, pinentry fails at the first character it cannot show.
func charset() string {
	for _, variable := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := os.Getenv(variable); value != "" {
			if folded := strings.ToLower(value); strings.HasSuffix(folded, ".utf-8") || strings.HasSuffix(folded, ".utf8") {
				return value
			}
			break
		}
	}
	return "C.UTF-8"
}
