package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/systemd"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// lines finds what belongs into the files of ssh, git and the shell, and puts it
// there if that is wanted.
func (s *setUp) lines(ctx context.Context) error {
	if err := s.publicKeyFile(); err != nil {
		return err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	program, err := agentProgram()
	if err != nil {
		return err
	}
	blocks := []block{
		{File: filepath.Join(home, ".ssh", "config"), Text: "Host *\n    IdentityAgent " + sshWord(s.result.Socket) + "\n"},
		s.shellBlock(home, program),
	}
	if _, err := exec.LookPath("git"); err == nil {
		blocks = append(blocks, s.gitBlocks(ctx, home)...)
	}
	for _, b := range blocks {
		b.Written = b.present()
		switch {
		case b.Written || !s.write:
		case b.hold != "":
			s.say("wrote nothing into %s: %s", b.File, b.hold)
		default:
			kept, err := b.write()
			if err != nil {
				return err
			}
			b.Written = true
			s.say("wrote lines into %s", b.File)
			if strings.HasPrefix(b.Text, unknownEmail) {
				s.say("git knows no email address of yours: put it there in the place of %s", unknownEmail)
			}
			if kept != "" {
				s.say("what it was before is in %s", kept)
			}
		}
		s.result.Lines = append(s.result.Lines, b)
	}
	return nil
}

// publicKeyFile sees to it that the public key is in its file, which ssh and git
// read.
func (s *setUp) publicKeyFile() error {
	if _, err := os.Stat(s.publicKeyPath()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.WriteNew(s.publicKeyPath(), []byte(s.result.Key.PublicKey+"\n"), 0o644)
}

func (s *setUp) publicKeyPath() string { return filepath.Join(xdg.Keys(), s.in.Ref.Name+".pub") }

// shellBlock is for ssh-add and git, which know no IdentityAgent. An agent that
// somebody who logs in here brings along stays.
func (s *setUp) shellBlock(home, program string) block {
	b := block{File: profile(home, os.Getenv("SHELL"))}
	b.Text = fmt.Sprintf("[ -n \"${SSH_CONNECTION:-}\" ] && [ -n \"${SSH_AUTH_SOCK:-}\" ] || export SSH_AUTH_SOCK=%s\n", shellWord(s.result.Socket))
	if set := systemd.User(); !set.Installed() && !set.Running() {
		b.Text += fmt.Sprintf("(setsid %s -D >/dev/null 2>&1 &)\n", shellWord(program)) // a second one ends by itself
	}
	if b.File == "" {
		b.File = "the start-up file of your shell"
		b.hold = "the lines are in the language of sh"
	}
	return b
}

// profile is the file that a login shell reads, or empty if it is no relative of sh.
func profile(home, shell string) string {
	candidates := []string{".profile"}
	switch filepath.Base(shell) {
	case "zsh":
		candidates = []string{".zprofile"}
	case "bash":
		candidates = []string{".bash_profile", ".bash_login", ".profile"}
	case "fish", "csh", "tcsh":
		return ""
	}
	for _, name := range candidates {
		path := filepath.Join(home, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return filepath.Join(home, candidates[len(candidates)-1])
}

// unknownEmail is the reader's to change.
const unknownEmail = "you@example.org"

// gitBlocks are the lines by which git signs with the key and verifies what it
// signed.
func (s *setUp) gitBlocks(ctx context.Context, home string) []block {
	email := gitSetting(ctx, "user.email")
	if email == "" || strings.ContainsAny(email, " \t\"*?!,#") {
		email = unknownEmail
	}
	signers := filepath.Join(home, ".ssh", "allowed_signers")
	settings := block{
		File: gitConfig(home),
		Text: fmt.Sprintf("[gpg]\n\tformat = ssh\n[gpg \"ssh\"]\n\tallowedSignersFile = %s\n[user]\n\tsigningKey = %s\n", gitWord(signers), gitWord(s.publicKeyPath())),
	}
	for _, want := range [][2]string{{"gpg.format", "ssh"}, {"gpg.ssh.allowedSignersFile", signers}, {"user.signingKey", s.publicKeyPath()}} {
		if theirs := gitSetting(ctx, want[0]); theirs != "" && theirs != want[1] {
			settings.hold = "git has another " + want[0]
		}
	}
	// Whose commits were signed by another key go on trusting that.
	return []block{settings, {File: signers, Text: fmt.Sprintf("%s namespaces=\"git\" %s\n", email, s.result.Key.PublicKey), hold: settings.hold}}
}

// gitSetting is a setting of the user, or empty.
func gitSetting(ctx context.Context, name string) string {
	out, err := exec.CommandContext(ctx, "git", "config", "--global", name).Output()
	if err != nil {
		return "" // git says so of a setting that is not there
	}
	return strings.TrimSpace(string(out))
}

// gitConfig is the file that git config --global writes.
func gitConfig(home string) string {
	path := filepath.Join(home, ".gitconfig")
	other := filepath.Join(filepath.Dir(filepath.Dir(xdg.ConfigFile())), "git", "config")
	if _, err := os.Stat(path); err != nil {
		if _, err := os.Stat(other); err == nil {
			return other
		}
	}
	return path
}

// printLines prints what is still to be put somewhere, and the public key.
func (s *setUp) printLines() {
	missing := false
	for _, b := range s.result.Lines {
		if !b.Written {
			fmt.Fprintf(s.Out, "# For %s:\n%s\n", b.File, b.Text)
			missing = true
		}
	}
	if missing && !s.write {
		s.say("to have the lines put into your files, run: sealsmith init %s --write", s.in.Ref.Name)
	}
	fmt.Fprintf(s.Out, "# The public key, for servers (or: ssh-copy-id -f -i %s USER@HOST) and forges:\n%s\n",
		shellWord(s.publicKeyPath()), s.result.Key.PublicKey)
}

// sshWord writes a path as one word of ssh_config(5).
func sshWord(path string) string {
	return `"` + strings.NewReplacer("%", "%%", `\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

// gitWord writes a path as a value of git-config(1).
func gitWord(path string) string {
	if !strings.ContainsAny(path, "#;\"\\ \t") {
		return path
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

// shellWord writes a path as one word of sh.
func shellWord(path string) string {
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
