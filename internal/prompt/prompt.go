package prompt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

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
		"install pinentry and set GPG_TTY=$(tty) or SSH_ASKPASS, or name the program as pinentry: in config.yaml; a running agent must be restarted")
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
