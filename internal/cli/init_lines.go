package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/hint"
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
				return hint.Wrap(err, "put the lines there yourself; to see them, run: sealsmith init "+s.in.Ref.Name)
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
	if lock := settings.File + ".lock"; !isGone(lock) {
		settings.hold = "git changes it now, or was killed while it did: " + lock + " is there"
	}
	s.signing = settings.hold == ""
	// Whose commits were signed by another key go on trusting that.
	return []block{settings, {File: signers, Text: fmt.Sprintf("%s namespaces=\"git\" %s\n", email, s.result.Key.PublicKey), hold: settings.hold}}
}

// gitSetting is a setting of the user, or empty.
func gitSetting(ctx context.Context, name string) string {
	out, err := exec.CommandContext(ctx, "git", "config", "--global", "--includes", name).Output()
	if err != nil {
		return "" // git says so of a setting that is not there
	}
	return strings.TrimSpace(string(out))
}

// userConfig is the folder of the configurations of a user's programs.
func userConfig() string { return filepath.Dir(filepath.Dir(xdg.ConfigFile())) }

// gitConfig is the file that git config --global writes.
func gitConfig(home string) string {
	if path := os.Getenv("GIT_CONFIG_GLOBAL"); path != "" {
		return path
	}
	path := filepath.Join(home, ".gitconfig")
	other := filepath.Join(userConfig(), "git", "config")
	if _, err := os.Stat(path); err != nil {
		if _, err := os.Stat(other); err == nil {
			return other
		}
	}
	return path
}

// printLines prints what is still to be put somewhere, and the public key.
func (s *setUp) printLines() {
	for _, b := range s.result.Lines {
		if !b.Written {
			fmt.Fprintf(s.Out, "# For %s:\n%s\n", b.File, b.Text)
		}
	}
	fmt.Fprintf(s.Out, "# The public key, for servers and forges:\n%s\n", s.result.Key.PublicKey)
}

// next says how to go on. A command has a line of its own, for any shell to take.
func (s *setUp) next() {
	s.say("done. What comes next:")
	step := func(what, command string, words ...any) {
		s.say("- %s:", what)
		s.say("    "+command, words...)
	}
	missing := func(b block) bool { return !b.Written && b.hold == "" }
	if slices.ContainsFunc(s.result.Lines, missing) {
		step("have the lines above put into your files", "sealsmith init %s --write", s.in.Ref.Name)
	}
	if other := os.Getenv("SSH_AUTH_SOCK"); other != s.result.Socket {
		step("have what you start in this shell find the agent", "export SSH_AUTH_SOCK=%s", shellWord(s.result.Socket))
		if other != "" && !isGone(other) {
			s.say("- another agent is at %s; to use its keys too, name it as agents: in %s", other, xdg.ConfigFile())
		}
	}
	if s.test == "" {
		step("give a server the public key, so that ssh logs in there", "ssh-copy-id -f -i %s USER@HOST", shellWord(s.publicKeyPath()))
	}
	if s.signing {
		step("sign with git", "git commit -S")
	}
	if s.in.Policy.PIN {
		step("when ssh says that the agent refused, for it could ask nobody for the PIN", "sealsmith agent unlock-key %s", s.in.Ref.Name)
	}
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
