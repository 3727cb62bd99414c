package agent

import (
	"cmp"
	"slices"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// keeps says whether the PIN of a key is remembered.
func (p *PINs) keeps(in key.Info) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !supervised(in) && p.idle(in.ID) > 0
}

// idle is how long a PIN is remembered without a use; 0: it is not. The mutex is held.
func (p *PINs) idle(id key.ID) time.Duration {
	rule := p.rules[id]
	if rule.PINNever {
		return 0
	}
	return cmp.Or(rule.PINIdle, limits.PINIdle)
}

// setRules changes how long PINs are remembered. Those for which that changed are
// forgotten.
func (p *PINs) setRules(rules map[key.ID]Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := map[key.ID]time.Duration{}
	for id := range p.remembered {
		before[id] = p.idle(id)
	}
	p.rules = rules
	for id, idle := range before {
		if p.idle(id) != idle {
			p.drop(id)
		}
	}
}

// wake drops every PIN if the machine slept since the last look: whoever opens it may
// be another person. The mutex is held.
func (p *PINs) wake() {
	slept := p.asleep()
	if slept-p.slept >= limits.Sleep {
		for id := range p.remembered {
			p.drop(id)
		}
	}
	p.slept = slept
}

// drop forgets a PIN, and has its timer wipe it. The mutex is held.
func (p *PINs) drop(id key.ID) {
	p.remembered[id].timer.Reset(0)
	delete(p.remembered, id)
}

// HeldPIN is a PIN that the agent remembers.
type HeldPIN struct {
	Key key.ID `json:"key"`
	// Seconds is when it is forgotten if it is not used before, and LifeSeconds
	// when it is forgotten in any case.
	Seconds     int `json:"seconds"`
	LifeSeconds int `json:"life_seconds"`
}

// held lists what is remembered, in the order of the keys.
func (p *PINs) held() []HeldPIN {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake()
	list := []HeldPIN{}
	now := time.Now().Round(0)
	for id, r := range p.remembered {
		life := limits.PINLife - now.Sub(r.learnt)
		left := min(life, p.idle(id)-now.Sub(r.used))
		if left > 0 { // else its timer is late, as the machine slept
			list = append(list, HeldPIN{id, int(left / time.Second), int(life / time.Second)})
		}
	}
	slices.SortFunc(list, func(a, b HeldPIN) int { return cmp.Compare(a.Key, b.Key) })
	return list
}
