package helper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sockets"
)

// descriptor is where a helper finds its end of the line: the first of ExtraFiles.
const descriptor = 3

// Start starts this program once more, with these arguments, as a helper, which
// complains to stderr (nil: to nobody). It leaves when the client is closed, or the
// agent ends in any other way; wait, which is called once, waits for that, and kills it if
// it stays and that is allowed. See [NewClient] for lost.
func Start(args []string, stderr *os.File, lost func(error)) (c *Client, wait func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := sockets.Pair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(self, args...)
	cmd.ExtraFiles = []*os.File{theirs}
	if stderr != nil {
		cmd.Stderr = stderr
	}
	cmd.Dir = "/" // where we were started may be unmounted while we live
	// Signals from a terminal are for us, and it leaves when we do.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start the helper: %w", err), ours.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	wait = func() error { return await(ended, cmd.Process.Kill, limits.HelperExit) }
	return NewClient(ours.(*net.UnixConn), lost), wait, nil
}

// await waits for a helper that was told to leave, and kills it if it stays. Landlock
// forbids that to a restricted agent, which leaves without it.
func await(ended <-chan error, kill func() error, patience time.Duration) error {
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
	}
	if err := kill(); err != nil {
		return fmt.Errorf("the helper stays: %w", err)
	}
	return <-ended
}

// Line is a helper's end of the line, in the process that [Start] started.
func Line() (*net.UnixConn, error) {
	syscall.CloseOnExec(descriptor)
	file := os.NewFile(descriptor, "line")
	defer file.Close() // FileConn duplicates it
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("only the agent starts a helper: %w", err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("only the agent starts a helper: descriptor %d is a %T", descriptor, conn), conn.Close())
	}
	return unixConn, nil
}
