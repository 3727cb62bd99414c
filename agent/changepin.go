package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	"github.com/sealsmith/sealsmith/key"
)

// changePIN sets, changes or removes the PIN of a key.
func (s *Server) changePIN(w http.ResponseWriter, r *http.Request) (int, any, error) {
	var body pinRequest
	release, err := s.readJSON(w, r, &body)
	if err != nil {
		return 0, nil, err
	}
	defer release()
	peer := connOf(r.Context()).peer
	defer s.useUp(peer, body.OldSecret, body.NewSecret)
	ref, err := key.ParseRef(cmp.Or(body.Ref, "id:"+r.PathValue("id")))
	if err != nil {
		return 0, nil, err
	}
	in, err := s.named(r, ref)
	if err != nil {
		return 0, nil, err
	}
	change, err := s.changeOf(body, in, peer)
	if err != nil {
		return 0, nil, err
	}
	begun := newRecord(body.action(), SocketControl, peer)
	begun.Key, begun.Ref = in.ID, in.Ref.String()
	ctx := newContext(r.Context(), &Request{Peer: peer, Socket: SocketControl, Key: in})
	err = s.recorded(begun, func(*record) error {
		return s.config.PINs.change(ctx, in.ID, func(ctx context.Context) error {
			return s.config.Keys.ChangePIN(ctx, in.Ref, change)
		})
	})
	if err != nil {
		return 0, nil, err
	}
	changed, err := s.config.Keys.Resolve(ctx, in.Ref)
	if err != nil {
		return 0, nil, err
	}
	answer, err := newKeyAnswer(changed.Info())
	return http.StatusOK, answer, err
}

// action is what the audit log calls the change.
func (b *pinRequest) action() string {
	switch {
	case b.New == pinNone:
		return "remove-pin"
	case b.Old == pinNone:
		return "set-pin"
	}
	return "change-pin"
}

// changeOf checks a request and says where the PINs come from.
func (s *Server) changeOf(b pinRequest, in key.Info, p Peer) (c key.PINChange, err error) {
	c.GuessableUnsafe = b.GuessableUnsafe
	// The driver asks for the PIN that the key has, through PINs.Auth.
	if c.Old, err = s.lend(b.Old, b.OldSecret, p, nil); err != nil {
		return c, fmt.Errorf("old PIN: %w", err)
	}
	if in.Policy.PIN != (b.Old != pinNone) {
		return c, fmt.Errorf("old PIN %q does not fit the key: %w", b.Old, key.ErrUsage)
	}
	q := Request{Peer: p, Key: in}.question(fmt.Sprintf("Choose the new PIN of the key %s.", in.Ref))
	c.New, err = s.lend(b.New, b.NewSecret, p, func(ctx context.Context, use func([]byte) error) error {
		return s.config.PINs.newPIN(ctx, q, use)
	})
	if err != nil {
		return c, fmt.Errorf("new PIN: %w", err)
	}
	return c, c.Validate(in)
}

type changing struct{}

// change runs a change of a key's PIN while nobody else prompts for that key. The
// PIN that is remembered is forgotten first: nobody knows how long it will hold.
// [PINs.Auth] then asks for it in any case.
func (p *PINs) change(ctx context.Context, id key.ID, do func(context.Context) error) error {
	release, err := p.turn(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	p.mu.Lock()
	r := p.remembered[id]
	p.mu.Unlock()
	if r != nil {
		p.forgetPIN(id, r)
	}
	return do(context.WithValue(ctx, changing{}, true))
}

// ChangePIN gives a key that was listed another PIN, its first one, or none, and
// returns what it is now. The agent asks for the PIN that the key has if the change
// does not lend it.
func (c *Client) ChangePIN(ctx context.Context, in key.Info, change key.PINChange) (key.Info, error) {
	if change.New == nil {
		return c.changePIN(ctx, in, change, pinNone)
	}
	return c.changePIN(ctx, in, change, pinSecret)
}

// ChangePINWithPrompt is ChangePIN to a PIN that the agent asks for; the change's
// own is not used.
func (c *Client) ChangePINWithPrompt(ctx context.Context, in key.Info, change key.PINChange) (key.Info, error) {
	return c.changePIN(ctx, in, change, pinPrompt)
}

func (c *Client) changePIN(ctx context.Context, in key.Info, change key.PINChange, pin pinSource) (key.Info, error) {
	body := pinRequest{Ref: in.Ref.String(), Old: pinNone, New: pin, GuessableUnsafe: change.GuessableUnsafe}
	var err error
	switch {
	case change.Old != nil:
		body.Old = pinSecret
		body.OldSecret, err = c.handOver(ctx, change.Old)
	case in.Policy.PIN:
		body.Old = pinPrompt
	}
	if err == nil && pin == pinSecret {
		body.NewSecret, err = c.handOver(ctx, change.New)
	}
	if err != nil {
		return key.Info{}, err
	}
	var answer keyAnswer
	if err := c.call(ctx, "POST", "/v1/keys/"+string(in.ID)+"/pin", body, &answer); err != nil {
		return key.Info{}, err
	}
	return answer.info()
}
