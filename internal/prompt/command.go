package prompt

import (
	"context"
	"os/exec"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// command prepares a program that asks. It runs in a session of its own, so that
// it takes no terminal from us, and is killed with its children when ctx ends.
func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = limits.PromptExit
	return cmd
}
