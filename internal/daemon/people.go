package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/peercred"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/key"
)

// people lets the agent ask through a prompter, which is told who asks by a function
// such as [helper.Client.Chain].
type people struct {
	prompter prompt.Prompter
	chain    func(ctx context.Context, pid int, process *os.File, connected time.Duration) (peercred.Chain, error)
}

var _ agent.Prompter = (*people)(nil)

// Confirm implements [agent.Prompter].
func (p *people) Confirm(ctx context.Context, q agent.Question) error {
	return denied(p.prompter.Confirm(ctx, p.prompt(ctx, q)))
}

// PIN implements [agent.Prompter].
func (p *people) PIN(ctx context.Context, q agent.Question, use func(pin []byte) error) error {
	pin, err := p.prompter.PIN(ctx, p.prompt(ctx, q))
	if err != nil {
		return denied(err)
	}
	defer pin.Wipe()
	return pin.Use(use)
}

// denied gives a refused or impossible question the class of a no.
func denied(err error) error {
	switch {
	case errors.Is(err, prompt.ErrUnavailable):
		return fmt.Errorf("%w: %w", agent.ErrNobody, err)
	case errors.Is(err, prompt.ErrCancelled):
		return fmt.Errorf("%w: %w", key.ErrDenied, err)
	}
	return err
}

func (p *people) prompt(ctx context.Context, q agent.Question) prompt.Prompt {
	lines := func(facts []agent.Fact) []prompt.Line {
		all := make([]prompt.Line, len(facts))
		for i, f := range facts {
			all[i] = prompt.Line(f)
		}
		return all
	}
	facts := lines(q.Facts)
	if q.Peer.PID != 0 {
		// Who asks has chosen its names.
		facts = append(facts, prompt.Line{Label: "Asked by (not verified)", Value: p.asker(ctx, q.Peer), Quoted: true})
	}
	return prompt.Prompt{Title: q.Title, Error: q.Error, Facts: facts, Claims: lines(q.Claims)}
}

// asker is the process that asks and those that it comes from, as far as they are
// known.
func (p *people) asker(ctx context.Context, peer agent.Peer) string {
	process, connected := peer.Process()
	if process != nil {
		defer process.Close()
	}
	chain, err := p.chain(ctx, peer.PID, process, connected)
	if err != nil {
		return fmt.Sprintf("process %d", peer.PID)
	}
	return chain.String()
}

// ownChain is a chain that this process follows itself.
func ownChain(_ context.Context, pid int, process *os.File, connected time.Duration) (peercred.Chain, error) {
	return peercred.ChainOf(pid, process, connected)
}
