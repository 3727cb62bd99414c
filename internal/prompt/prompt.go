package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
)

var (
	// ErrCancelled is a person's no.
	ErrCancelled = errors.New("cancelled")
	// ErrUnavailable means that nobody could be asked.
	ErrUnavailable = errors.New("nobody can be asked")
)

// Prompter asks a person. Implementations are safe for concurrent use: each
// question stands for itself. Both methods give up when ctx ends, with its
// error; they fail with [ErrCancelled] or [ErrUnavailable].
type Prompter interface {
	// Confirm returns nil if the person says yes.
	Confirm(ctx context.Context, p Prompt) error
	// PIN returns what the person typed, at least one byte. The caller wipes
	// it.
	PIN(ctx context.Context, p Prompt) (*secret.Buffer, error)
}

// Prompt is what is shown.
type Prompt struct {
	// Title is our own sentence: what is asked.
	Title string
	// Error says what was wrong with the last answer; empty the first time.
	Error string
	// Facts are what we computed. Values may hold hostile text.
	Facts []Line
	// Claims are what the asking program says about itself.
	Claims []Line
}

// Line is a labelled value.
type Line struct{ Label, Value string }

// Text lays the prompt out in lines of printable characters. A value longer
// than limit bytes is cut, visibly.
func (p Prompt) Text(limit int) string {
	var b strings.Builder
	if p.Error != "" {
		fmt.Fprintf(&b, "%s\n\n", p.Error)
	}
	b.WriteString(p.Title)
	b.WriteByte('\n')
	for _, l := range p.Facts {
		fmt.Fprintf(&b, "\n%s: %s", l.Label, fact(l.Value, limit))
	}
	if len(p.Claims) > 0 {
		b.WriteString("\n\nThe program says:")
	}
	for _, l := range p.Claims {
		fmt.Fprintf(&b, "\n%s: %s", l.Label, quote(l.Value, limit))
	}
	return b.String()
}

// fact shows a value as it is, unless it has to be cut or has characters that
// could change how other text looks.
func fact(s string, limit int) string {
	if len(s) > limit || !utf8.ValidString(s) {
		return quote(s, limit)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return quote(s, limit)
		}
	}
	return s
}

// quote shows text with Go's escapes, which leave only printable characters.
func quote(s string, limit int) string {
	if len(s) <= limit {
		return strconv.Quote(s)
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return strconv.Quote(s[:limit]) + "..."
}

// New chooses who asks: the program pinentry if it is not empty; the pinentry on
// PATH if there is a display or GPG_TTY for it; the program in SSH_ASKPASS;
// else nobody. The choice is made now and does not follow the environment.
func New(pinentry string) Prompter {
	if pinentry != "" {
		return &assuanPrompter{pinentry}
	}
	if os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "" || os.Getenv("GPG_TTY") != "" {
		if path, err := exec.LookPath("pinentry"); err == nil && filepath.IsAbs(path) {
			return &assuanPrompter{path}
		}
	}
	if path := os.Getenv("SSH_ASKPASS"); path != "" && os.Getenv("SSH_ASKPASS_REQUIRE") != "never" {
		return &askpass{path}
	}
	return Nobody("there is no display, no GPG_TTY and no SSH_ASKPASS",
		"install pinentry and set GPG_TTY=$(tty), or name the program as pinentry: in config.yaml, and restart the agent")
}

// Nobody refuses every question with [ErrUnavailable], saying why.
func Nobody(why string, hints ...string) Prompter {
	return nobody{hint.Wrap(fmt.Errorf("%w: %s", ErrUnavailable, why), hints...)}
}

// nobody is the Prompter that cannot ask.
type nobody struct{ err error }

// Confirm implements [Prompter].
func (n nobody) Confirm(context.Context, Prompt) error { return n.err }

// PIN implements [Prompter].
func (n nobody) PIN(context.Context, Prompt) (*secret.Buffer, error) { return nil, n.err }

// shrink moves the first n bytes of b into a buffer of that size and wipes b.
func shrink(b *secret.Buffer, n int) (*secret.Buffer, error) {
	defer b.Wipe()
	if n == 0 {
		return nil, fmt.Errorf("%w: no PIN was given", ErrCancelled)
	}
	small, err := secret.New(n)
	if err != nil {
		return nil, err
	}
	err = small.Use(func(to []byte) error {
		return b.Use(func(from []byte) error { copy(to, from); return nil })
	})
	if err != nil {
		small.Wipe()
		return nil, err
	}
	return small, nil
}

var errLongPIN = fmt.Errorf("PIN is longer than %d bytes", limits.PromptPIN)
