package prompt

import (
	"context"
	"os/exec"
	"syscall"
	"time"
)

// waitDelay is how long a program that was asked may take to leave, and the pipes
// of a killed one to close.
const waitDelay = time.Second

// command prepares a program that asks. It runs in a session of its own, so that
// it takes no terminal from us, and is killed with its children when ctx ends.
func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitDelay
	return cmd
}
