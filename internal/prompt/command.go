package prompt

import (
	"context"
	"io"
	"os/exec"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// child is a running program that asks.
type child struct {
	cmd  *exec.Cmd
	out  io.Closer     // our end of its standard output
	gone chan struct{} // closed when the program has ended
}

// start runs a program until it ends, or has it end when ctx does. It gets a
// session of its own, so that it takes no terminal from us and can be ended with
// its children.
func start(ctx context.Context, cmd *exec.Cmd, out io.Closer) (*child, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd, out, make(chan struct{})}
	go func() {
		select {
		case <-ctx.Done():
			c.end()
		case <-c.gone:
		}
	}()
	return c, nil
}

// end asks the program to leave, which gives a terminal back as it was, and kills
// it if it stays.
func (c *child) end() {
	c.signal(syscall.SIGTERM)
	select {
	case <-time.After(limits.PromptExit):
		c.signal(syscall.SIGKILL)
		c.out.Close() // which a child in another session may hold open
	case <-c.gone:
	}
}

// signal signals the program and its children, unless they are gone.
func (c *child) signal(s syscall.Signal) {
	select {
	case <-c.gone:
	default:
		_ = syscall.Kill(-c.cmd.Process.Pid, s)
	}
}

// wait waits for the program to end.
func (c *child) wait() error {
	err := c.cmd.Wait()
	close(c.gone)
	return err
}
