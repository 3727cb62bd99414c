package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/systemd"
	"github.com/sealsmith/sealsmith/internal/xdg"
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

// agentLog is the log of an agent that no systemd started.
func agentLog() string { return filepath.Join(xdg.State(), "agent.log") }

// startAgent starts the usual agent in the background: there is no systemd to do it.
func (s *setUp) startAgent(ctx context.Context, program string) error {
	if err := xdg.Private(xdg.State()); err != nil {
		return err
	}
	log, err := os.OpenFile(agentLog(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program, "-D")
	cmd.Stderr, cmd.Dir = log, "/"
	// It uses the TPM of the configuration, as at the next login.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEALSMITH_TPM=") })
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it stays when this terminal goes
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	// It says where it serves as soon as it does.
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		cmd.Wait() // the state says more
		said, _ := readFile(log.Name(), limits.SetUpFile)
		return fmt.Errorf("the agent did not start: %v: %s", cmd.ProcessState, lastWords(said))
	}
	s.say("started the agent, with the PID %d; it logs to %s", cmd.Process.Pid, log.Name())
	s.say("no systemd of yours runs that could start it at each login; the lines for your shell do")
	return nil
}
