package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

// tests uses the key as OpenSSH does.
func (s *setUp) tests(ctx context.Context) error {
	if err := s.listed(ctx); err != nil {
		return err
	}
	s.passed("ssh-add lists the key")
	if s.in.Policy.PIN {
		unlocked, err := s.unlock(ctx)
		if err != nil {
			return err
		}
		if !unlocked && s.test != "" {
			return hint.Wrap(fmt.Errorf("nobody can be asked for the PIN of %s: %w", s.in.Ref, key.ErrDenied), "give it with --pin-fd N")
		}
		if !unlocked {
			s.say("not tested: a signature, for there is nobody to ask for the PIN")
			return nil
		}
	}
	if err := s.signed(ctx); err != nil {
		return hint.Wrap(err, "why the agent refused is in "+xdg.AuditLog())
	}
	s.passed("ssh-keygen signs with the key and verifies the signature")
	if s.test == "" {
		return nil
	}
	if err := s.loggedIn(ctx); err != nil {
		return hint.Wrap(fmt.Errorf("log in to %.200q: %w", s.test, err), "the server must have the public key in ~/.ssh/authorized_keys: ssh-copy-id -f -i "+shellWord(s.publicKeyPath())+" "+s.test)
	}
	s.passed("ssh logs in to " + s.test)
	return nil
}

func (s *setUp) passed(test string) {
	s.result.Tests = append(s.result.Tests, test)
	s.say("tested: %s", test)
}

// unlock gives the agent the PIN, if somebody here knows it: the agent itself may
// have nobody to ask.
func (s *setUp) unlock(ctx context.Context) (unlocked bool, err error) {
	client, err := agent.Dial(ctx, usualSocket("control.sock"))
	if err != nil {
		return false, err
	}
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil || slices.ContainsFunc(status.PINs, func(held agent.HeldPIN) bool { return held.Key == s.in.ID }) {
		return err == nil, err
	}
	pin := cmp.Or(s.pin, s.chosen)
	if pin == nil {
		if s.terminal() == nil {
			return false, nil
		}
		if pin, err = s.askSecret(ctx, fmt.Sprintf("Enter the PIN of the key %s, for the agent to remember.", s.in.Ref), "pin-fd"); err != nil {
			return false, err
		}
		defer pin.Wipe()
	}
	err = client.UnlockKey(ctx, s.in, lend(pin))
	if errors.Is(err, key.ErrNotAllowed) {
		return true, nil // its PIN is never remembered: the agent asks
	}
	return err == nil, err
}

func (s *setUp) listed(ctx context.Context) error {
	out, err := s.openSSH(ctx, nil, "ssh-add", "-L")
	if err != nil {
		return err
	}
	if blob := strings.Fields(s.result.Key.PublicKey)[1]; !strings.Contains(string(out), blob) {
		return errors.New("ssh-add does not list the key")
	}
	return nil
}

func (s *setUp) signed(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "sealsmith-init-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	const message, who, namespace = "a test of sealsmith init\n", "me", "file"
	signature, err := s.openSSH(ctx, strings.NewReader(message), "ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", s.publicKeyPath())
	if err != nil {
		return err
	}
	allowed, sig := filepath.Join(dir, "allowed_signers"), filepath.Join(dir, "sig")
	err = errors.Join(os.WriteFile(allowed, []byte(who+" "+s.result.Key.PublicKey+"\n"), 0o600), os.WriteFile(sig, signature, 0o600))
	if err != nil {
		return err
	}
	_, err = s.openSSH(ctx, strings.NewReader(message), "ssh-keygen", "-Y", "verify", "-n", namespace, "-I", who, "-f", allowed, "-s", sig)
	return err
}

// loggedIn logs in as the user does, with the user's configuration. ssh may ask
// about the server's key.
func (s *setUp) loggedIn(ctx context.Context) error {
	args := []string{"-o", "IdentityAgent=" + sshWord(s.result.Socket), "-o", "IdentitiesOnly=yes", "-o", "IdentityFile=" + sshWord(s.publicKeyPath())}
	var stdin io.Reader
	if s.terminal() == nil {
		args = append(args, "-o", "BatchMode=yes")
	} else {
		stdin = s.In
	}
	_, err := s.openSSH(ctx, stdin, "ssh", append(args, "--", s.test, "true")...)
	return err
}

// openSSH runs a program of OpenSSH's with the agent, and returns what it printed.
func (s *setUp) openSSH(ctx context.Context, stdin io.Reader, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+s.result.Socket)
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		return out, nil
	}
	return nil, fmt.Errorf("%s: %w: %s", program, err, lastWords(stderr.Bytes()))
}

// lastWords quotes the end of what a program had to say: it says why it failed.
func lastWords(said []byte) string {
	said = bytes.TrimSpace(said)
	if len(said) > limits.CommandError {
		said = said[len(said)-limits.CommandError:]
	}
	return fmt.Sprintf("%q", said)
}
