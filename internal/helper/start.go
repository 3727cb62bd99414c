package helper

import (
	"context"
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
// agent ends in any other way; wait waits for that, and kills it if it stays. See
// [NewClient] for lost.
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
	ctx, kill := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.ExtraFiles = []*os.File{theirs}
	if stderr != nil {
		cmd.Stderr = stderr
	}
	// Signals from a terminal are for us, and it leaves when we do.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		kill()
		return nil, nil, errors.Join(fmt.Errorf("start the helper: %w", err), ours.Close())
	}
	wait = func() error {
		defer kill()
		defer time.AfterFunc(limits.HelperExit, kill).Stop()
		return cmd.Wait()
	}
	return NewClient(ours.(*net.UnixConn), lost), wait, nil
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
