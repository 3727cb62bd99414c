package agent

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

// Prompter asks a person. Implementations are safe for concurrent use and give
// up when ctx ends. Their errors wrap [key.ErrDenied], whether the person said no
// or could not be asked.
type Prompter interface {
	// Confirm returns nil if the person says yes.
	Confirm(ctx context.Context, q Question) error
	// PIN lends what the person typed to use, which must not keep it, and
	// returns use's error.
	PIN(ctx context.Context, q Question, use func(pin []byte) error) error
}

// PINs asks for the PINs of keys and remembers those that may be remembered: of
// keys that no person has to supervise, for 15 minutes after the last use and 8
// hours in all. It is safe for concurrent use. A prompt holds up only requests
// for the PIN of the same key.
type PINs struct {
	prompter Prompter
	stopped  context.Context // ends every prompt
	stop     context.CancelCauseFunc
	places   chan struct{} // one for each prompt on the screen

	mu         sync.Mutex
	remembered map[key.ID]*rememberedPIN
	turns      map[key.ID]chan struct{} // whose holder may prompt for the key
}

// rememberedPIN is a PIN that a device accepted. The fields other than pin are
// guarded by the mutex of PINs.
type rememberedPIN struct {
	pin    *secret.Buffer
	learnt time.Time // both times are of the wall clock, which a suspended
	used   time.Time // machine's monotonic clock falls behind
	timer  *time.Timer
}

// NewPINs makes an empty store that asks through p.
func NewPINs(p Prompter) *PINs {
	ctx, stop := context.WithCancelCause(context.Background())
	return &PINs{
		prompter: p, stopped: ctx, stop: stop, places: make(chan struct{}, limits.Prompts),
		remembered: map[key.ID]*rememberedPIN{}, turns: map[key.ID]chan struct{}{},
	}
}

var errStopping = fmt.Errorf("the agent is stopping: %w", key.ErrDenied)

// stopPrompts takes every prompt off the screen and allows no more.
func (p *PINs) stopPrompts() { p.stop(errStopping) }

// Close ends every prompt and wipes every PIN, once it is out of use.
func (p *PINs) Close() {
	p.stopPrompts()
	p.mu.Lock()
	all := p.remembered
	p.remembered = map[key.ID]*rememberedPIN{}
	p.mu.Unlock()
	for _, r := range all {
		r.timer.Stop()
		r.pin.Wipe()
	}
}

// Auth is the [key.AuthFunc] for device drivers.
func (p *PINs) Auth(ctx context.Context, r key.AuthRequest, use func(secret []byte) error) error {
	if supervised(r.Key) {
		_, err := p.ask(ctx, r, use, false)
		return err
	}
	if done, err := p.useRemembered(r.Key.ID, use); done {
		return err
	}
	// Of several requests for one key, one prompts and the others wait to
	// see whether they need to.
	release, err := p.turn(ctx, r.Key.ID)
	if err != nil {
		return err
	}
	defer release()
	if done, err := p.useRemembered(r.Key.ID, use); done {
		return err
	}
	pin, err := p.ask(ctx, r, use, true)
	if pin != nil {
		p.remember(r.Key.ID, pin)
	}
	return err
}

// useRemembered uses the PIN that is known, if there is one. A wrong one is
// forgotten and counts as none.
func (p *PINs) useRemembered(id key.ID, use func(secret []byte) error) (done bool, err error) {
	r := p.lookup(id)
	if r == nil {
		return false, nil
	}
	err = r.pin.Use(func(pin []byte) error {
		done = true // it was not wiped meanwhile
		return use(pin)
	})
	var wrong *key.PINError
	if errors.As(err, &wrong) {
		p.forgetPIN(id, r)
		return false, nil
	}
	return done, err
}

// lookup finds a PIN that may still be used and counts the use.
func (p *PINs) lookup(id key.ID) *rememberedPIN {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.remembered[id]
	if r == nil {
		return nil
	}
	now := time.Now().Round(0)
	if now.Sub(r.used) >= limits.PINIdle || now.Sub(r.learnt) >= limits.PINLife {
		// The machine slept: let the timer fire now.
		r.timer.Reset(0)
		return nil
	}
	r.used = now
	r.timer.Reset(min(limits.PINIdle, limits.PINLife-now.Sub(r.learnt)))
	return r
}

func (p *PINs) remember(id key.ID, pin *secret.Buffer) {
	now := time.Now().Round(0)
	r := &rememberedPIN{pin: pin, learnt: now, used: now}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped.Err() != nil {
		pin.Wipe()
		return
	}
	r.timer = time.AfterFunc(limits.PINIdle, func() { p.forgetPIN(id, r) })
	if old := p.remembered[id]; old != nil {
		old.timer.Reset(0)
	}
	p.remembered[id] = r
}

// forget drops the PIN of a key.
func (p *PINs) forget(id key.ID) {
	p.mu.Lock()
	r := p.remembered[id]
	p.mu.Unlock()
	if r != nil {
		p.forgetPIN(id, r)
	}
}

// forgetPIN drops r and leaves a newer PIN of the key alone.
func (p *PINs) forgetPIN(id key.ID, r *rememberedPIN) {
	p.mu.Lock()
	if p.remembered[id] == r {
		delete(p.remembered, id)
	}
	r.timer.Stop()
	p.mu.Unlock()
	r.pin.Wipe()
}

// turn waits until nobody else prompts for the key.
func (p *PINs) turn(ctx context.Context, id key.ID) (release func(), err error) {
	p.mu.Lock()
	t := p.turns[id]
	if t == nil {
		t = make(chan struct{}, 1)
		p.turns[id] = t
	}
	p.mu.Unlock()
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// ask prompts for the PIN until the device takes it. It returns the PIN that was
// taken if keep is set. What was refused once is never sent again.
func (p *PINs) ask(ctx context.Context, r key.AuthRequest, use func(secret []byte) error, keep bool) (*secret.Buffer, error) {
	request, known := FromContext(ctx)
	if !known {
		request = Request{Key: r.Key}
	}
	q := request.question(fmt.Sprintf("Enter the PIN of the key %s.", r.Key.Ref))
	var refused refusedPINs
	defer func() { refused.wipe() }()
	var last error
	for range limits.PINPrompts {
		left, err := r.TriesLeft(ctx)
		if err != nil {
			return nil, err
		}
		if left == 0 {
			return nil, &key.LockoutError{}
		}
		q.Error = refused.explain(left)
		pin, err := p.promptPIN(ctx, q)
		if err != nil {
			return nil, err
		}
		if refused.has(pin) {
			pin.Wipe()
			continue
		}
		err = pin.Use(use)
		var wrong *key.PINError
		if errors.As(err, &wrong) {
			refused = append(refused, pin)
			last = err
			continue
		}
		if err == nil && keep {
			return pin, nil
		}
		pin.Wipe()
		return nil, err
	}
	return nil, last
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

func (l refusedPINs) explain(left int) string {
	switch {
	case len(l) == 0:
		return ""
	case left < 0:
		return "That PIN was wrong."
	}
	return "That was wrong: " + (&key.PINError{TriesLeft: left}).Error() + "."
}

func (l refusedPINs) wipe() {
	for _, pin := range l {
		pin.Wipe()
	}
}

// promptPIN asks for one PIN, which the caller wipes.
func (p *PINs) promptPIN(ctx context.Context, q Question) (pin *secret.Buffer, err error) {
	err = p.prompt(ctx, func(ctx context.Context) error {
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

// confirm asks for a yes.
func (p *PINs) confirm(ctx context.Context, q Question) error {
	return p.prompt(ctx, func(ctx context.Context) error { return p.prompter.Confirm(ctx, q) })
}

var errNoAnswer = fmt.Errorf("nobody answered the prompt: %w", key.ErrDenied)

// prompt runs f with a context that ends when the client is gone, when the
// person thinks too long, and when the agent stops.
func (p *PINs) prompt(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, cancelTime := context.WithTimeoutCause(ctx, limits.PromptTime, errNoAnswer)
	defer cancelTime()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.stopped, func() { cancel(context.Cause(p.stopped)) })()
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	err := f(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
