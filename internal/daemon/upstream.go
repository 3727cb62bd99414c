package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/config"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

// upstreams are the agents that one with these sockets passes requests on to. The
// default agent of its user has the devices; every other one has its own software keys
// alone while that lives.
func upstreams(c *config.Config, p *places) (all []agent.Upstream, err error) {
	if p == nil {
		return nil, nil // nobody connects
	}
	if !p.standard {
		all = append(all, agent.Upstream{Path: filepath.Join(xdg.Runtime(), sshSocket+".sock"), Devices: true})
	}
	for _, a := range c.Agents {
		if sameFile(a.Path, p.ssh.Addr().String()) || sameFile(a.Path, p.control.Addr().String()) {
			return nil, hint.Wrap(fmt.Errorf("agents: %q is this agent itself", a.Path), "take it out of config.yaml")
		}
		all = append(all, agent.Upstream{Path: a.Path, Keys: a.Keys})
	}
	return all, nil
}

var errAgents = errors.New("agents: others are named there, and a running agent keeps its own")

// sameAgents says whether two configurations name the same agents.
func sameAgents(a, b *config.Config) bool { return reflect.DeepEqual(a.Agents, b.Agents) }

// sameFile says whether two paths are of one file, which exists.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// offer is the configured offer in the agent's terms.
func offer(c *config.Config) (agent.Offer, error) {
	var all agent.Offer
	for _, text := range c.Offer {
		if config.Fingerprint(text) {
			all = append(all, agent.Offered{Fingerprint: text})
			continue
		}
		ref, err := key.ParseRef(text)
		if err != nil {
			return nil, fmt.Errorf("offer: %w", err)
		}
		all = append(all, agent.Offered{Ref: ref})
	}
	return all, nil
}
