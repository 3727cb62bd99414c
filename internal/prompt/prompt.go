package prompt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode"

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

// New chooses who asks: the program pinentry if it is not empty; the program in
// SSH_ASKPASS if SSH_ASKPASS_REQUIRE wants it (ssh(1)); the pinentry on PATH if there is
// a display or GPG_TTY for it; the program in SSH_ASKPASS; else nobody. The choice is
// made now and does not follow the environment.
func New(pinentry string) Prompter {
	program, require := os.Getenv("SSH_ASKPASS"), os.Getenv("SSH_ASKPASS_REQUIRE")
	if require == "never" {
		program = ""
	}
	switch {
	case pinentry != "":
		return &assuanPrompter{pinentry}
	case program != "" && (require == "force" || require == "prefer"):
		return &askpass{program}
	}
	found, why := findPinentry()
	switch {
	case why == "":
		return &assuanPrompter{found}
	case program != "":
		return &askpass{program}
	}
	return Nobody(why+", and no SSH_ASKPASS",
		"install pinentry and set GPG_TTY=$(tty) or SSH_ASKPASS, or name the program as pinentry: in config.yaml; then: sealsmith agent reload, or restart the agent for another environment")
}

// findPinentry is the pinentry on PATH, or why it cannot ask.
func findPinentry() (path, why string) {
	terminal := os.Getenv("GPG_TTY") != ""
	if !terminal && os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return "", "there is no display, no GPG_TTY"
	}
	path, err := exec.LookPath("pinentry")
	if err != nil || !filepath.IsAbs(path) {
		return "", "there is no pinentry on PATH"
	}
	// Most systems have links to the one that is used.
	target, err := filepath.EvalSymlinks(path)
	if err == nil && !terminal && (strings.HasSuffix(target, "-curses") || strings.HasSuffix(target, "-tty")) {
		return "", fmt.Sprintf("there is no GPG_TTY for %s, which asks at terminals only", target)
	}
	return path, ""
}

// Who names the program by which a prompter of [New] or [Nobody] asks, or says why there
// is none.
func Who(p Prompter) string {
	switch p := p.(type) {
	case *assuanPrompter:
		return p.path
	case *askpass:
		return p.path + " (SSH_ASKPASS)"
	case nobody:
		return p.err.Error()
	}
	return "a program"
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
	err := b.Use(func(typed []byte) error {
		if bytes.ContainsFunc(typed[:n], unicode.IsControl) {
			return errControl
		}
		return nil
	})
	if err != nil {
		return nil, err
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

// Nobody can type such PINs, and a TPM counts each wrong one.
var (
	errLongPIN = fmt.Errorf("%w: the PIN is longer than %d bytes", ErrCancelled, limits.PromptPIN)
	errControl = fmt.Errorf("%w: the PIN has a control character", ErrCancelled)
)
