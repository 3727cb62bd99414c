package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/daemon"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/sign"
)

// controlSocket is where the agent is looked for, and whether somebody said so.
func (a *app) controlSocket() (path string, named bool) {
	for _, path := range []string{a.socket, os.Getenv("SEALSMITH_SOCKET")} {
		if path != "" {
			return path, true
		}
	}
	// An agent that a shell started for itself has both sockets in one folder.
	if ssh := os.Getenv("SSH_AUTH_SOCK"); filepath.Base(ssh) == "ssh.sock" {
		beside := filepath.Join(filepath.Dir(ssh), "control.sock")
		if _, err := os.Lstat(beside); err == nil {
			return beside, false
		}
	}
	return filepath.Join(xdg.Runtime(), "control.sock"), false
}

// dial connects to the agent at a path. Without one it says how there would be one.
func (a *app) dial(ctx context.Context, socket string) (*agent.Client, error) {
	client, err := agent.Dial(ctx, socket)
	if !errors.Is(err, agent.ErrNoAgent) {
		return client, err
	}
	switch socket {
	case usualSocket("control.sock"):
		return nil, hint.Wrap(err, "have it started when it is needed: sealsmith agent install, or, without systemd, start it with: sealsmith-agent -D")
	case hostSocket:
		return nil, hint.Wrap(err, "install the machine's agent: sealsmith agent install --host-keys")
	}
	return nil, hint.Wrap(err, "an agent serves that path with: sealsmith-agent -D --control "+socket)
}

// dialDevices connects to the agent that has the devices: the usual one while it lives, also
// for those who use one that a shell started for itself; unless another was named.
func (a *app) dialDevices(ctx context.Context) (*agent.Client, error) {
	socket, named := a.controlSocket()
	if usual := usualSocket("control.sock"); !named && socket != usual {
		if client, err := agent.Dial(ctx, usual); !errors.Is(err, agent.ErrNoAgent) {
			return client, err
		}
	}
	return a.dial(ctx, socket)
}

// keys is the way to the keys: the agent, or, without one or with --direct, the
// same server inside this process. done ends it.
func (a *app) keys(ctx context.Context) (client *agent.Client, done func(), err error) {
	if !a.direct {
		client, err = a.dialDevices(ctx)
		if err == nil {
			if err := a.sameDevice(ctx, client); err != nil {
				return nil, nil, errors.Join(err, client.Close())
			}
			return client, func() { client.Close() }, nil
		}
		// Without the default agent this process does the work; an agent that
		// was named must be there.
		if !errors.Is(err, agent.ErrNoAgent) {
			return nil, nil, err
		}
		if _, named := a.controlSocket(); named {
			return nil, nil, hint.Wrap(err, "--direct does without an agent")
		}
	}
	return a.inProcess()
}

// inProcess runs the agent's server here. It asks at the terminal if there is one.
func (a *app) inProcess() (*agent.Client, func(), error) {
	options := daemon.Options{Config: a.config, TPM: a.tpm, Log: a.log(), Notice: a.notice}
	options.Prompter = a.terminal()
	if a.noPrompt {
		options.Prompter = prompt.Nobody("--no-prompt was given")
	}
	d, err := daemon.New(options)
	if err != nil {
		return nil, nil, err
	}
	client := d.Client()
	a.alone = true
	return client, func() {
		ctx, cancel := context.WithTimeout(context.Background(), limits.AgentStop)
		defer cancel()
		if err := errors.Join(d.Close(ctx), client.Close()); err != nil {
			a.say("sealsmith: warning: %v", err)
		}
	}, nil
}

// sameDevice refuses an agent that holds another device than the one that this
// command was told to use.
func (a *app) sameDevice(ctx context.Context, client *agent.Client) error {
	wanted, err := daemon.Device(a.tpm, a.config)
	if wanted == "" || err != nil {
		return err
	}
	status, err := client.Status(ctx)
	if err != nil || status.Device == wanted {
		return err
	}
	return hint.Wrap(fmt.Errorf("the agent uses the device %s, not %s: %w", status.Device, wanted, key.ErrNoDevice),
		"restart the agent with that device, or use --direct")
}

// signer finds the key to sign with: a [key.StructuredSigner], or a [key.Signer]
// if it is a key that signs any digest. subject is what prompts quote as our word
// for what is signed.
func (a *app) signer(ctx context.Context, text, subject string) (k sign.Key, done func(), err error) {
	ref, err := key.ParseRef(text)
	if err != nil {
		return nil, nil, err
	}
	client, done, err := a.keys(ctx)
	if err != nil {
		return nil, nil, err
	}
	k, err = findSigner(ctx, client, ref, subject)
	if err == nil {
		err = a.mayPrompt(k.Info())
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return k, done, nil
}

// mayPrompt refuses a key that asks a person, if nobody is to be asked: an agent
// would ask all the same.
func (a *app) mayPrompt(in key.Info) error {
	supervised := in.Usage.Supervised() && !in.Policy.Unattended
	if !a.noPrompt || !supervised && !in.Policy.PIN {
		return nil
	}
	return hint.Wrap(fmt.Errorf("%s signs only after a person was asked, and --no-prompt was given: %w", in.Ref, key.ErrDenied),
		"a key that is created --unattended and without a PIN asks nobody")
}

func findSigner(ctx context.Context, client *agent.Client, ref key.Ref, subject string) (sign.Key, error) {
	k, err := client.Key(ctx, ref, subject)
	if err != nil {
		return nil, err
	}
	if k.Info().Usage == key.Digest {
		return client.Signer(ctx, ref, subject)
	}
	return k, nil
}
