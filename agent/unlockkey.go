package agent

import (
	"context"
	"crypto"
	"crypto/rand"
	"fmt"
	"net/http"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

// unlockRequest hands over the PIN of a key, or has the agent ask for it.
type unlockRequest struct {
	PIN    pinSource `json:"pin"`
	Secret string    `json:"secret,omitempty"` // of pinSecret
}

// unlockKey has the device check the PIN of a key, and remembers it: for machines
// where nobody can be asked when the key is used.
func (s *Server) unlockKey(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var body unlockRequest
	release, err := s.readJSON(w, r, &body)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	id := key.ID(r.PathValue("id"))
	ctx, end := s.uses.begin(r.Context(), id)
	defer end()
	peer := connOf(ctx).peer
	defer s.useUp(peer, body.Secret)
	from, err := s.lend(body.PIN, body.Secret, peer, nil)
	if err == nil && body.PIN == pinNone {
		err = fmt.Errorf("pin %q is none of prompt, secret: %w", body.PIN, key.ErrUsage)
	}
	if err != nil {
		return 0, nil, err
	}
	signer, err := s.config.Keys.Signer(ctx, id)
	if err != nil {
		return 0, nil, err
	}
	in := signer.Info()
	done := newRecord("unlock-key", SocketControl, peer)
	done.Key, done.Ref = in.ID, in.Ref.String()
	if err = s.unlockable(in); err == nil {
		request := Request{Peer: peer, Socket: SocketControl, Key: in, Form: formUnlock}
		err = check(context.WithValue(newContext(ctx, &request), unlocking{}, from), signer)
	}
	return http.StatusOK, struct{}{}, s.written(done, s.unlessEnded(ctx, err))
}

// unlockable says why a key cannot be unlocked, if it cannot.
func (s *Server) unlockable(in key.Info) error {
	switch {
	case !in.Policy.PIN:
		return fmt.Errorf("the key %s has no PIN: %w", in.Ref, key.ErrUsage)
	case supervised(in):
		return refuse(fmt.Sprintf("the PIN of %s keys is asked for at each use", in.Usage))
	case !s.config.PINs.keeps(in):
		return hint.Wrap(refuse("the configuration has its PIN never remembered"), "see pin_cache: in config.yaml")
	}
	return nil
}

// check has the device check a PIN. Not every device can do that and no more, so it
// signs what means nothing, and nobody gets the signature.
func check(ctx context.Context, signer key.Signer) error {
	digest := make([]byte, crypto.SHA256.Size())
	rand.Read(digest)
	_, err := signer.SignContext(ctx, digest, crypto.SHA256)
	return err
}

// unlocking is the context's key for where the PIN of a key to be unlocked comes from:
// a [key.LendFunc], which is nil if a person is to be asked.
type unlocking struct{}

// learn has the device check a PIN and remembers it, in place of the one that is
// remembered.
func (p *PINs) learn(ctx context.Context, r key.AuthRequest, use func(secret []byte) error, from key.LendFunc) error {
	release, err := p.turn(ctx, r.Key.ID)
	if err != nil {
		return err
	}
	defer release()
	if from == nil {
		pin, err := p.ask(ctx, r, use, true, nil)
		if pin != nil {
			p.remember(r.Key.ID, pin)
		}
		return err
	}
	if left, err := r.TriesLeft(ctx); err != nil || left == 0 {
		if err == nil {
			err = &key.LockoutError{}
		}
		return err
	}
	return from(ctx, func(given []byte) error {
		if err := use(given); err != nil {
			return err
		}
		pin, err := secret.New(len(given))
		if err != nil {
			return err
		}
		err = pin.Use(func(b []byte) error { copy(b, given); return nil })
		p.remember(r.Key.ID, pin)
		return err
	})
}

// UnlockKey gives the agent the PIN of a key that was listed, to remember it as if a
// person had been asked.
func (c *Client) UnlockKey(ctx context.Context, in key.Info, pin key.LendFunc) error {
	name, err := c.handOver(ctx, pin)
	if err != nil {
		return err
	}
	return c.call(ctx, "POST", "/v1/keys/"+string(in.ID)+"/unlock", unlockRequest{PIN: pinSecret, Secret: name}, &struct{}{})
}
