package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/config"
	"github.com/sealsmith/sealsmith/internal/helper"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/sandbox"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// Options say which agent to make. Log and Notice are required.
type Options struct {
	// Config is the configuration file; empty means the usual one.
	Config string
	// TPM is the device string of the command line; empty leaves the choice to
	// SEALSMITH_TPM and the configuration.
	TPM string
	// Lifetime is how long private keys are kept that clients add without saying it;
	// 0: until they are removed.
	Lifetime time.Duration
	// Prompter asks people; nil chooses by the configuration and environment.
	Prompter prompt.Prompter
	// helper does what this process will not be able to do itself; nil: there is
	// none, and this process asks and starts what it needs.
	helper *helper.Client
	// places are the sockets; nil: there are none.
	places *places
	// Log is for people who look for a fault.
	Log *slog.Logger
	// Notice gets what the person must be told, such as a software TPM.
	Notice func(string)
}

// Daemon is an agent with its device. The device is not touched before a key or
// its state is asked for.
type Daemon struct {
	server *agent.Server
	ring   *key.Ring
	device *tpm.Device
	audit  *agent.AuditLog
	places *places        // nil without sockets
	helper *helper.Client // nil without one

	configFile, sandbox string // for restrict
	abi                 int    // of Landlock, by which it did
}

// New makes the agent, and hardens this process, which holds PINs from now on.
// Whoever calls it must call [Daemon.Close].
func New(o Options) (*Daemon, error) {
	if err := Harden(); err != nil {
		return nil, err
	}
	secret.OnUnlocked(func(err error) {
		o.Log.Warn("PINs and software keys may be written to swap space: memory cannot be locked", logx.Err, err)
	})
	c, err := config.Load(o.Config)
	if err != nil {
		return nil, err
	}
	name, err := deviceOf(o.TPM, c)
	if err != nil {
		return nil, err
	}
	offered, err := offer(c)
	if err != nil {
		return nil, err
	}
	others, err := upstreams(c, o.places)
	if err != nil {
		return nil, err
	}
	asking, startSWTPM := asks(o, c)
	if err := xdg.Private(xdg.State()); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	audit, err := agent.OpenAuditLog(xdg.AuditLog())
	if err != nil {
		return nil, err
	}
	audit.Mirror()
	device, err := tpm.NewDevice(tpm.Options{
		Device: name, LockDir: xdg.Runtime(), DataDir: xdg.Data(), Log: o.Log, Notice: o.Notice, StartSWTPM: startSWTPM,
	})
	if err != nil {
		return nil, errors.Join(err, audit.Close())
	}
	pins := agent.NewPINs(asking)
	backend, err := tpm.New(device, tpm.Config{Dir: xdg.Keys(), Auth: pins.Auth, Log: o.Log, Notice: o.Notice})
	if err != nil {
		return nil, errors.Join(err, device.Close(), audit.Close())
	}
	d := &Daemon{
		ring: key.NewRing(backend), device: device, audit: audit,
		configFile: config.File(o.Config), sandbox: c.Sandbox, places: o.places, helper: o.helper,
	}
	d.server = agent.NewServer(agent.Config{
		Keys: d.ring, PINs: pins, Rules: rules(c), SoftwareKeys: agent.SoftwarePolicy(c.SoftwareKeys), Device: servedDevice{device}, Audit: audit, Log: o.Log,
		ConfigFile: config.File(o.Config), Reload: o.reload(c), DefaultLifetime: o.Lifetime, Offer: offered, Upstreams: others, Process: d.process,
	})
	return d, nil
}

// asks says who asks people and who starts a software TPM (nil: the driver).
func asks(o Options, c *config.Config) (p *people, startSWTPM func() (net.Conn, func() error, error)) {
	switch {
	case o.helper != nil:
		return &people{o.helper, o.helper.Chain}, o.helper.StartSWTPM
	case o.Prompter != nil:
		return &people{o.Prompter, ownChain}, nil
	}
	return &people{prompt.New(c.Pinentry), ownChain}, nil
}

// process describes this process, if it serves sockets, and so has a helper.
func (d *Daemon) process() *agent.Process {
	if d.helper == nil {
		return nil
	}
	return &agent.Process{Sandbox: agent.Sandbox{ABI: d.abi, Full: sandbox.Wanted}, Asks: d.helper.Asks()}
}

// servedDevice is the TPM in the agent's terms.
type servedDevice struct{ *tpm.Device }

// Status implements [agent.Device].
func (d servedDevice) Status(ctx context.Context) (any, error) { return d.Device.Status(ctx) }

// Storage implements [agent.Device].
func (d servedDevice) Storage(ctx context.Context) (any, error) { return d.Device.Storage(ctx) }

// EndorsementKeys implements [agent.Device].
func (d servedDevice) EndorsementKeys(ctx context.Context) (any, error) {
	keys, err := d.Device.EndorsementKeys(ctx)
	return append([]tpm.EK{}, keys...), err
}

// Answer implements [agent.Device].
func (d servedDevice) Answer(ctx context.Context, challenge []byte) ([]byte, error) {
	c, err := tpm.ParseChallenge(challenge)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", key.ErrUsage, err)
	}
	answer, err := d.Device.Answer(ctx, c)
	if err != nil {
		return nil, err
	}
	return answer.Encode()
}

// Client speaks to the agent inside this process; see [agent.InProcess].
func (d *Daemon) Client() *agent.Client { return agent.InProcess(d.server) }

// Close stops the agent: prompts are withdrawn, the command in hand is finished
// until ctx ends, secrets are wiped, the device is left as it was found.
func (d *Daemon) Close(ctx context.Context) error {
	err := errors.Join(d.server.Shutdown(ctx), d.ring.Close(), d.audit.Close())
	if d.places != nil { // last, for when its folder is gone, the device is free
		err = errors.Join(err, d.places.close())
	}
	return err
}

// Device is the canonical device string that a command line means, or "" if it
// leaves the choice to the agent: nothing is set anywhere.
func Device(flag, configFile string) (string, error) {
	c, err := config.Load(configFile)
	if err != nil {
		return "", err
	}
	return deviceOf(flag, c)
}

// deviceOf is the canonical device string that was chosen: by the flag, else the
// environment, else the configuration.
func deviceOf(flag string, c *config.Config) (string, error) {
	for _, name := range []string{flag, os.Getenv("SEALSMITH_TPM"), c.TPM} {
		if name == "" {
			continue
		}
		device, err := tpm.ParseDevice(name)
		if err != nil {
			return "", hint.Wrap(err, "the device is set by --tpm, SEALSMITH_TPM or tpm: in config.yaml")
		}
		return device, nil
	}
	return "", nil
}

// rules are the configured rules in the agent's terms.
func rules(c *config.Config) map[key.ID]agent.Rule {
	all := map[key.ID]agent.Rule{}
	for id, k := range c.Keys {
		idle, _ := k.PINIdle() // was checked when it was read
		all[key.ID(id)] = agent.Rule{
			Confirm: k.Confirm, Namespaces: k.Namespaces, AllowUnrecognizedUnsafe: k.AllowUnrecognizedUnsafe,
			PINIdle: max(idle, 0), PINNever: idle < 0,
		}
	}
	return all
}
