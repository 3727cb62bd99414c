package daemon

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

var errCommandEnded = errors.New("the command has ended")

// watchParent waits for the end of a process, the command that started us: at once, so that the
// next agent finds the device free, or, where the kernel does not tell, by looking
// now and then.
func watchParent(ctx context.Context, parent int, ended context.CancelCauseFunc) {
	// An error means only that we have to look ourselves, as below.
	_ = awaitExit(ctx, parent)
	tick := time.NewTicker(limits.AgentParent)
	defer tick.Stop()
	for os.Getppid() == parent {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	ended(errCommandEnded)
}
