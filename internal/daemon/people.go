package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/key"
)

// people lets the agent ask through a prompter.
type people struct{ prompter prompt.Prompter }

var _ agent.Prompter = (*people)(nil)

// Confirm implements [agent.Prompter].
func (p *people) Confirm(ctx context.Context, q agent.Question) error {
	return denied(p.prompter.Confirm(ctx, promptOf(q)))
}

// PIN implements [agent.Prompter].
func (p *people) PIN(ctx context.Context, q agent.Question, use func(pin []byte) error) error {
	pin, err := p.prompter.PIN(ctx, promptOf(q))
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

func promptOf(q agent.Question) prompt.Prompt {
	lines := func(facts []agent.Fact) []prompt.Line {
		all := make([]prompt.Line, len(facts))
		for i, f := range facts {
			all[i] = prompt.Line(f)
		}
		return all
	}
	return prompt.Prompt{Title: q.Title, Error: q.Error, Facts: lines(q.Facts), Claims: lines(q.Claims)}
}
