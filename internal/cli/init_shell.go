package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealsmith/sealsmith/internal/systemd"
)

// shellBlock is for ssh-add and git, which know no IdentityAgent. An agent that
// somebody who logs in here brings along stays.
func (s *setUp) shellBlock(home, program string) block {
	file, fish := profile(home, os.Getenv("SHELL"))
	b := block{File: file}
	b.Text = fmt.Sprintf("[ -n \"${SSH_CONNECTION:-}\" ] && [ -n \"${SSH_AUTH_SOCK:-}\" ] || export SSH_AUTH_SOCK=%s\n", shellWord(s.result.Socket))
	if fish {
		b.Text = fmt.Sprintf("set -q SSH_CONNECTION; and set -q SSH_AUTH_SOCK; or set -gx SSH_AUTH_SOCK %s\n", fishWord(s.result.Socket))
	}
	if set := systemd.User(); !set.Installed() && !set.Running() {
		start := startLine(program)
		if fish {
			start = "status is-login; and sh -c " + fishWord(start)
		}
		b.Text += start + "\n"
	}
	if b.File == "" {
		b.File = "the start-up file of your shell"
		b.hold = "the lines are in the language of sh"
	}
	return b
}

// startLine starts the agent at each login, in the language of sh. A second one ends by
// itself. As nobody hears them, they log where the agents in the background do.
func startLine(program string) string {
	return fmt.Sprintf("(setsid %s -D >/dev/null 2>&1 &)", shellWord(program))
}

// profile is the file that a login shell reads, or empty if that speaks neither the
// language of sh nor fish's.
func profile(home, shell string) (path string, fish bool) {
	candidates := []string{".profile"}
	switch filepath.Base(shell) {
	case "fish":
		return filepath.Join(userConfig(), "fish", "conf.d", "sealsmith.fish"), true
	case "csh", "tcsh":
		return "", false
	case "zsh":
		home, candidates = cmp.Or(os.Getenv("ZDOTDIR"), home), []string{".zprofile"}
	case "bash":
		candidates = []string{".bash_profile", ".bash_login", ".profile"}
	}
	for _, name := range candidates {
		path := filepath.Join(home, name)
		if _, err := os.Stat(path); err == nil {
			return path, false
		}
	}
	return filepath.Join(home, candidates[len(candidates)-1]), false
}

// shellWord writes a path as one word of sh.
func shellWord(path string) string {
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// fishWord writes a text as one word of fish.
func fishWord(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}
