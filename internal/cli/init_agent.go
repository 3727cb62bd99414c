package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/daemon"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/systemd"
)

// runAgent sees to it that the usual agent runs, now and after each login.
func (s *setUp) runAgent(ctx context.Context) error {
	s.result.Socket = usualSocket("ssh.sock")
	set := systemd.User()
	client, err := agent.Dial(ctx, usualSocket("control.sock"))
	if err == nil {
		defer client.Close()
		status, err := client.Status(ctx)
		if err != nil {
			return err
		}
		if isGone(s.result.Socket) {
			return hint.Wrap(fmt.Errorf("the agent with the PID %d runs, but its socket %s is gone", status.PID, s.result.Socket), endAgent(set, status.PID)+", and run this again")
		}
		s.say("the agent runs already, with the PID %d", status.PID)
		if set.Running() && !set.Installed() {
			s.say("systemd does not know it; to change that, run: kill %d; sealsmith agent install", status.PID)
		}
		return nil
	}
	if !errors.Is(err, agent.ErrNoAgent) {
		return err
	}
	program, err := agentProgram()
	if err != nil {
		return err
	}
	if !set.Running() {
		return s.startAgent(ctx, program)
	}
	if err := set.Install(program); err != nil {
		return err
	}
	s.say("wrote the units of the agent into %s", set.Dir)
	if err := systemd.Run(ctx, set.Enable()); err != nil {
		return err
	}
	s.say("systemd starts the agent when it is needed")
	return nil
}

// endAgent is how to end the agent so that it, or systemd, makes its sockets anew.
func endAgent(set systemd.Set, pid int) string {
	if set.Installed() && set.Running() {
		return "run: sealsmith agent uninstall"
	}
	return fmt.Sprintf("end it with: kill %d", pid)
}

// startAgent starts the usual agent in the background: there is no systemd to do it.
func (s *setUp) startAgent(ctx context.Context, program string) error {
	var said bytes.Buffer
	cmd := exec.Command(program, "-D")
	cmd.Stderr, cmd.Dir = &said, "/"
	// It uses the TPM of the configuration, as at the next login.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEALSMITH_TPM=") })
	if _, err := daemon.Background(ctx, cmd); err != nil {
		return fmt.Errorf("%w: %s", err, lastWords(said.Bytes()))
	}
	s.say("started the agent, with the PID %d", cmd.Process.Pid)
	s.say("no systemd of yours runs that could start it at each login; the lines for your shell do")
	return nil
}
