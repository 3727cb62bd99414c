package agent

import (
	"context"
	"fmt"
	"sync"

	"github.com/sealsmith/sealsmith/key"
)

var errDeleted = fmt.Errorf("deleted meanwhile: %w", key.ErrNotFound)

// uses are the requests that wait to sign with a key, so that none of them does
// when the key has been deleted.
type uses struct {
	mu  sync.Mutex
	all map[*use]struct{}
}

type use struct {
	id  key.ID
	end context.CancelCauseFunc
}

// noKey is the ID of uses of the agent as a whole.
const noKey key.ID = ""

// begin derives a context that ends with errDeleted when the key is deleted. The
// key must be looked up after that, and done called at the end.
func (u *uses) begin(ctx context.Context, id key.ID) (_ context.Context, done func()) {
	ctx, end := context.WithCancelCause(ctx)
	one := &use{id, end}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = map[*use]struct{}{}
	}
	u.all[one] = struct{}{}
	return ctx, func() {
		end(nil)
		u.mu.Lock()
		defer u.mu.Unlock()
		delete(u.all, one)
	}
}

// endAll ends every request with the cause.
func (u *uses) endAll(cause error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for one := range u.all {
		one.end(cause)
	}
}

// end ends the requests that use a key, which has been deleted.
func (u *uses) end(id key.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for one := range u.all {
		if one.id == id {
			one.end(errDeleted)
		}
	}
}
