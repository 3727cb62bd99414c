package agent

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// dialUnix connects to a socket. If as many wait there as may, it does so too, until ctx
// ends: the kernel has no queue for that.
func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) {
			return conn, err
		}
		select {
		case <-time.After(limits.AcceptPause):
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		}
	}
}
