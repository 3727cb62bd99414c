package agent

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

// turn waits until nobody else prompts for the key.
func (p *PINs) turn(ctx context.Context, id key.ID) (release func(), err error) {
	p.mu.Lock()
	t := p.turns[id]
	if t == nil {
		t = make(chan struct{}, 1)
		p.turns[id] = t
	}
	p.mu.Unlock()
	return p.wait(ctx, t)
}

var errCrowded = hint.Wrap(&classError{"other prompts wait for a person", key.ErrBusy}, "answer them, then try again")

// wait waits for one of the places in a channel's buffer.
func (p *PINs) wait(ctx context.Context, places chan struct{}) (release func(), err error) {
	late := time.NewTimer(limits.PromptTime)
	defer late.Stop()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-late.C:
		return nil, errCrowded
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-p.stopped.Done():
		return nil, context.Cause(p.stopped)
	}
}

// ask prompts for the PIN until the device takes it, and has the key's turn. It
// returns the PIN that was taken if keep is set. What was refused once is never sent
// again, and the last try is left alone if this request has failed before: wrong
// says how, if it was by a remembered PIN.
func (p *PINs) ask(ctx context.Context, r key.AuthRequest, use func(secret []byte) error, keep bool, wrong error) (*secret.Buffer, error) {
	request, known := FromContext(ctx)
	if !known {
		request = Request{Key: r.Key}
	}
	title := "Enter the PIN of the key %s."
	if ctx.Value(changing{}) != nil {
		title = "Enter the PIN that the key %s has now, to change or remove it."
	}
	q := request.question(fmt.Sprintf(title, r.Key.Ref))
	var refused refusedPINs
	defer func() { refused.wipe() }()
	repeated := false
	for range limits.PINPrompts {
		left, err := r.TriesLeft(ctx)
		switch {
		case err != nil:
			return nil, err
		case left == 0:
			return nil, &key.LockoutError{}
		case left == 1 && wrong != nil:
			return nil, hint.Wrap(wrong, "the next wrong PIN locks the device for a while: try again when you are sure of it")
		}
		q.Error = explain(left, wrong != nil, repeated)
		pin, err := p.promptPIN(ctx, q)
		if err != nil {
			return nil, err
		}
		if repeated = refused.has(pin); repeated {
			pin.Wipe()
			continue
		}
		err = pin.Use(use)
		if as := (*key.PINError)(nil); errors.As(err, &as) {
			refused = append(refused, pin)
			wrong = err
			continue
		}
		if err == nil && keep {
			return pin, nil
		}
		pin.Wipe()
		return nil, err
	}
	return nil, wrong
}

// explain says what was wrong with the last answer.
func explain(left int, wrong, repeated bool) string {
	switch {
	case repeated:
		return "That PIN was tried already."
	case wrong && left < 0:
		return "That PIN was wrong."
	case wrong:
		return "That was wrong: " + (&key.PINError{TriesLeft: left}).Error() + "."
	case left == 1:
		return "Only one try is left: a wrong PIN locks the device for a while."
	}
	return ""
}

// refusedPINs are what the device refused during one request.
type refusedPINs []*secret.Buffer

func (l refusedPINs) has(pin *secret.Buffer) (found bool) {
	for _, other := range l {
		_ = other.Use(func(a []byte) error {
			return pin.Use(func(b []byte) error {
				found = found || subtle.ConstantTimeCompare(a, b) == 1
				return nil
			})
		})
	}
	return found
}

func (l refusedPINs) wipe() {
	for _, pin := range l {
		pin.Wipe()
	}
}

// promptPIN asks for one PIN, which the caller wipes.
func (p *PINs) promptPIN(ctx context.Context, q Question) (pin *secret.Buffer, err error) {
	err = p.prompt(ctx, q.Peer, func(ctx context.Context) error {
		return p.prompter.PIN(ctx, q, func(typed []byte) (err error) {
			pin, err = secret.New(len(typed))
			if err != nil {
				return err
			}
			return pin.Use(func(b []byte) error { copy(b, typed); return nil })
		})
	})
	if err != nil && pin != nil {
		pin.Wipe()
		pin = nil
	}
	return pin, err
}

// newPIN asks for the PIN of a key to be made, twice, and lends it to use.
func (p *PINs) newPIN(ctx context.Context, q Question, use func(pin []byte) error) error {
	for range limits.PINPrompts {
		first, err := p.promptPIN(ctx, q)
		if err != nil {
			return err
		}
		defer first.Wipe()
		again := q
		again.Title, again.Error = "Enter the new PIN once more.", ""
		second, err := p.promptPIN(ctx, again)
		if err != nil {
			return err
		}
		defer second.Wipe()
		if (refusedPINs{first}).has(second) {
			return first.Use(use)
		}
		q.Error = "The two PINs were not the same."
	}
	return fmt.Errorf("the two PINs were not the same: %w", key.ErrDenied)
}

// confirm asks for a yes to a use of the key.
func (p *PINs) confirm(ctx context.Context, id key.ID, q Question) error {
	release, err := p.turn(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	return p.prompt(ctx, q.Peer, func(ctx context.Context) error { return p.prompter.Confirm(ctx, q) })
}

// tired refuses who was told no again and again.
func (p *PINs) tired(from Peer) error {
	wait := p.noes.over(from.PID)
	if wait == 0 {
		return nil
	}
	return hint.Wrap(fmt.Errorf("too many questions were answered with no: %w", key.ErrDenied),
		fmt.Sprintf("in %v a person can be asked again", (wait+time.Second).Truncate(time.Second)))
}

var errNoAnswer = fmt.Errorf("nobody answered the prompt: %w", key.ErrDenied)

// prompt waits for a place on the screen and runs f with a context that ends when
// the client is gone, when the person thinks too long, and when the agent stops. Who
// was told no again and again is not asked about for a while: nobody is to say yes
// because they are tired of it.
func (p *PINs) prompt(ctx context.Context, from Peer, f func(ctx context.Context) error) error {
	if err := p.tired(from); err != nil {
		return err
	}
	release, err := p.wait(ctx, p.places)
	if err != nil {
		return err
	}
	defer release()
	if err := p.tired(from); err != nil {
		return err // by answers since
	}
	ctx, cancelTime := context.WithTimeoutCause(ctx, limits.PromptTime, errNoAnswer)
	defer cancelTime()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.stopped, func() { cancel(context.Cause(p.stopped)) })()
	err = f(ctx)
	if errors.Is(err, key.ErrDenied) && !errors.Is(err, ErrNobody) || errors.Is(context.Cause(ctx), errNoAnswer) {
		p.noes.count(from.PID)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
