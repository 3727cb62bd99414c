package daemon

import (
	"context"
	"fmt"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/config"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/tpm"
)

// reload makes the function that reads the configuration again, for an agent that was
// started with this one.
func (o Options) reload(started *config.Config) func() (agent.Settings, error) {
	return func() (agent.Settings, error) {
		c, err := config.Load(o.Config)
		if err == nil {
			err = o.unchanged(started, c)
		}
		var offered agent.Offer
		if err == nil {
			offered, err = offer(c)
		}
		if err != nil {
			return agent.Settings{}, fmt.Errorf("%w: %w", agent.ErrConfiguration, err)
		}
		if o.helper != nil {
			if err := o.helper.Choose(context.Background(), true); err != nil {
				return agent.Settings{}, err
			}
		}
		return agent.Settings{Rules: rules(c), SoftwareKeys: agent.SoftwarePolicy(c.SoftwareKeys), Offer: offered}, nil
	}
}

// unchanged refuses what an agent has chosen once, at its start: its device, its sandbox
// and the other agents.
func (o Options) unchanged(before, after *config.Config) error {
	const restart = "restart the agent to change it"
	device, err := o.device(before)
	if err != nil {
		return err
	}
	next, err := o.device(after)
	switch {
	case err != nil:
		return err
	case next != device:
		return hint.Wrap(fmt.Errorf("tpm: the device would be %q, and a running agent keeps its own, %q", next, device), restart)
	case after.Sandbox != before.Sandbox:
		return hint.Wrap(fmt.Errorf("sandbox: is %q there, and a running agent keeps its own", after.Sandbox), restart)
	case !sameAgents(before, after):
		return hint.Wrap(errAgents, restart)
	}
	return nil
}

// device is what [deviceOf] finds, in the one form by which devices are told apart.
func (o Options) device(c *config.Config) (string, error) {
	name, err := deviceOf(o.TPM, c)
	if err != nil {
		return "", err
	}
	return tpm.ParseDevice(name)
}
