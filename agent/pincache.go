package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

// ErrNobody is wrapped, besides [key.ErrDenied], by the errors of a [Prompter] that has
// nobody to ask.
var ErrNobody error = &classError{"denied", key.ErrDenied}

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
// keys that no person has to supervise, for 15 minutes after the last use (or what the
// key's [Rule] says) and 8 hours in all, and never beyond a sleep of the machine. It is
// safe for concurrent use. A key has one prompt at a time, and
// all keys together have few; who waits longer for one than a person may think
// fails with [key.ErrBusy].
type PINs struct {
	prompter Prompter
	stopped  context.Context // ends every prompt
	stop     context.CancelCauseFunc
	places   chan struct{} // one for each prompt on the screen

	noes   *rate                // questions that were answered with no
	asleep func() time.Duration // how long the machine has slept since its start

	mu         sync.Mutex
	remembered map[key.ID]*rememberedPIN
	turns      map[key.ID]chan struct{} // whose holder may prompt for the key
	locked     bool                     // nothing is remembered
	rules      map[key.ID]Rule
	slept      time.Duration // what asleep said last
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
		prompter: p, stopped: ctx, stop: stop, places: make(chan struct{}, limits.Prompts), asleep: asleep,
		remembered: map[key.ID]*rememberedPIN{}, turns: map[key.ID]chan struct{}{}, slept: asleep(),
		noes: newRate(pace{limits.Noes, limits.NoTime}, pace{limits.AllNoes, limits.AllNoTime}),
	}
}

var errStopping = fmt.Errorf("the agent is stopping: %w", key.ErrDenied)

// stopPrompts takes every prompt off the screen and allows no more.
func (p *PINs) stopPrompts() { p.stop(errStopping) }

// Close ends every prompt and wipes every PIN, once it is out of use.
func (p *PINs) Close() {
	p.stopPrompts()
	p.lock(true)
}

// lock has PINs remembered no more, and wipes those that are, or ends that.
func (p *PINs) lock(locked bool) {
	p.mu.Lock()
	p.locked = locked
	if !locked {
		p.mu.Unlock()
		return
	}
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
	if ctx.Value(changing{}) != nil {
		_, err := p.ask(ctx, r, use, false, nil)
		return err
	}
	if from, yes := ctx.Value(unlocking{}).(key.LendFunc); yes {
		return p.learn(ctx, r, use, from)
	}
	keep := p.keeps(r.Key)
	var wrong error
	if keep {
		var done bool
		if done, wrong = p.useRemembered(r.Key.ID, use); done {
			return wrong
		}
	}
	release, err := p.turn(ctx, r.Key.ID)
	if err != nil {
		return err
	}
	defer release()
	if keep {
		// Who had the turn before may have learnt it.
		done, err := p.useRemembered(r.Key.ID, use)
		if done {
			return err
		}
		wrong = cmp.Or(err, wrong)
	}
	pin, err := p.ask(ctx, r, use, keep, wrong)
	if pin != nil {
		p.remember(r.Key.ID, pin)
	}
	if errors.Is(err, ErrNobody) && keep {
		err = hint.Wrap(err, "where nobody can be asked, tell the agent the PIN beforehand: sealsmith agent unlock-key "+r.Key.Ref.Name)
	}
	return err
}

// useRemembered uses the PIN that is known, if there is one. A wrong one is
// forgotten, and is an error that is not the end.
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
	switch {
	case !done:
		return false, nil // as good as none
	case errors.As(err, &wrong):
		p.forgetPIN(id, r)
		return false, err
	}
	return true, err
}

// lookup finds a PIN that may still be used and counts the use.
func (p *PINs) lookup(id key.ID) *rememberedPIN {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake()
	r := p.remembered[id]
	if r == nil {
		return nil
	}
	now, idle := time.Now().Round(0), p.idle(id)
	if now.Sub(r.used) >= idle || now.Sub(r.learnt) >= limits.PINLife {
		// The machine slept: let the timer fire now.
		r.timer.Reset(0)
		return nil
	}
	r.used = now
	r.timer.Reset(min(idle, limits.PINLife-now.Sub(r.learnt)))
	return r
}

func (p *PINs) remember(id key.ID, pin *secret.Buffer) {
	now := time.Now().Round(0)
	r := &rememberedPIN{pin: pin, learnt: now, used: now}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake()
	idle := p.idle(id)
	if p.locked || p.stopped.Err() != nil || idle == 0 {
		pin.Wipe()
		return
	}
	r.timer = time.AfterFunc(min(idle, limits.PINLife), func() { p.forgetPIN(id, r) })
	if old := p.remembered[id]; old != nil {
		old.timer.Reset(0)
	}
	p.remembered[id] = r
}

// forget drops all about a key.
func (p *PINs) forget(id key.ID) {
	p.mu.Lock()
	r := p.remembered[id]
	delete(p.turns, id)
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
