package agent

import (
	"context"
	"testing"

	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/key"
)

// TestBackend: what holds for a device holds for its keys behind a socket.
func TestBackend(t *testing.T) {
	keytest.TestBackend(t, keytest.Options{Usage: key.Digest}, func(t *testing.T, auth key.AuthFunc) keytest.CreatorDeleter {
		h := start(t, nil)
		if auth != nil {
			h.person.pin = asked(auth)
		}
		return clientBackend{remoteBackend{h.client()}}
	})
}

// asked has a person type what auth lends.
func asked(auth key.AuthFunc) func(context.Context, Question) (string, error) {
	return func(ctx context.Context, _ Question) (pin string, err error) {
		r, _ := FromContext(ctx)
		err = auth(ctx, key.AuthRequest{Key: r.Key}, func(secret []byte) error {
			pin = string(secret)
			return nil
		})
		return pin, err
	}
}

// clientBackend is a client as a backend.
type clientBackend struct{ remoteBackend }

// Create implements [key.Creator]. Keys of other usages than digest are listed
// only: nothing signs with them here.
func (b clientBackend) Create(ctx context.Context, s key.Spec) (key.Signer, error) {
	in, err := b.c.Create(ctx, s)
	if err != nil || in.Usage != key.Digest {
		return nil, err
	}
	return b.c.Signer(ctx, in.Ref, "")
}

// ChangePIN implements [key.PINChanger].
func (b clientBackend) ChangePIN(ctx context.Context, r key.Ref, c key.PINChange) error {
	in, err := b.c.Resolve(ctx, r)
	if err != nil {
		return err
	}
	_, err = b.c.ChangePIN(ctx, in, c)
	return err
}

// Delete implements [key.Deleter].
func (b clientBackend) Delete(ctx context.Context, r key.Ref) error {
	in, err := b.c.Resolve(ctx, r)
	if err != nil {
		return err
	}
	return b.c.Delete(ctx, in)
}
