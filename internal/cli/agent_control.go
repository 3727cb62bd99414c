package cli

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/key"
)

// withAgent runs a command that is about the running agent itself.
func (a *app) withAgent(cmd *cobra.Command, do func(c *agent.Client) error) error {
	if a.direct {
		return usageError(errors.New("--direct does without the agent"))
	}
	socket, _ := a.controlSocket()
	client, err := a.dial(cmd.Context(), socket)
	if err != nil {
		return err
	}
	return errors.Join(do(client), client.Close())
}

// withDevices runs a command that is about the agent that has the devices.
func (a *app) withDevices(cmd *cobra.Command, do func(c *agent.Client) error) error {
	if a.direct {
		return usageError(errors.New("--direct does without the agent"))
	}
	client, err := a.dialDevices(cmd.Context())
	if err != nil {
		return err
	}
	return errors.Join(do(client), client.Close())
}

func (a *app) agentReload() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "have the agent read its configuration again",
		Long: `Reload has the agent read config.yaml again. If something is wrong with it, or it changes
what a running agent keeps (tpm:, sandbox:, agents:), nothing changes and the exit status
is 1. What was begun before goes by the old rules; PINs that are to be remembered for another
time than before are forgotten.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAgent(cmd, func(c *agent.Client) error {
				configuration, err := c.Reload(cmd.Context())
				if err == nil {
					a.say("loaded %s", configuration.File)
				}
				return err
			})
		},
	}
}

func (a *app) agentUnlockKey() *cobra.Command {
	var fd int
	c := &cobra.Command{
		Use:   "unlock-key KEY",
		Short: "give the agent the PIN of a key, to be remembered",
		Long: `Unlock-key asks for the PIN of a key at this terminal, or reads it with --pin-fd, has the
TPM check it, and has the agent remember it as if it had asked: for 15 minutes after each
use, or what pin_cache: in the configuration says. It is for machines where the agent
itself has nobody to ask. A wrong PIN counts, and is not asked for again.

PINs of keys that a person is asked about at each use are never remembered.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := key.ParseRef(args[0])
			if err != nil {
				return err
			}
			return a.withDevices(cmd, func(c *agent.Client) error {
				in, err := c.Resolve(cmd.Context(), ref)
				if err != nil {
					return err
				}
				var pin *secret.Buffer
				switch {
				case !in.Policy.PIN:
					return usageError(fmt.Errorf("the key %s has no PIN", in.Ref))
				case cmd.Flags().Changed("pin-fd"):
					pin, err = a.readPIN(fd)
				default:
					pin, err = a.askSecret(cmd.Context(), fmt.Sprintf("Enter the PIN of the key %s, for the agent to remember.", in.Ref), "pin-fd")
				}
				if err != nil {
					return err
				}
				defer pin.Wipe()
				return c.UnlockKey(cmd.Context(), in, lend(pin))
			})
		},
	}
	c.Flags().IntVar(&fd, "pin-fd", 0, "read the PIN, one line, from the file descriptor `N`")
	return c
}

func (a *app) agentLock() *cobra.Command {
	return a.lockCommand("lock", "have the agent sign nothing until it is unlocked",
		`Lock asks for a passphrase of up to 64 bytes, with which the agent is locked as by
ssh-add -x: it forgets every PIN, and signs nothing until it is unlocked, by agent unlock or
by ssh-add -X.`,
		"Choose a passphrase to lock the agent with.", (*agent.Client).Lock)
}

func (a *app) agentUnlock() *cobra.Command {
	return a.lockCommand("unlock", "end what agent lock or ssh-add -x began",
		`Unlock asks for the passphrase with which the agent was locked. After each wrong one it
takes longer to answer. The exit status is 4 if the passphrase is wrong.`,
		"Enter the passphrase that the agent was locked with.", (*agent.Client).Unlock)
}

func (a *app) lockCommand(verb, short, long, title string, turn func(*agent.Client, context.Context, key.LendFunc) error) *cobra.Command {
	var fd int
	c := &cobra.Command{
		Use:   verb,
		Short: short,
		Long:  long,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAgent(cmd, func(c *agent.Client) error {
				if !cmd.Flags().Changed("passphrase-fd") {
					return a.askLock(cmd, c, verb, title, turn)
				}
				passphrase, err := a.readLine(fd, "passphrase", limits.SecretOctets)
				if err != nil {
					return err
				}
				defer passphrase.Wipe()
				return turn(c, cmd.Context(), lend(passphrase))
			})
		},
	}
	c.Flags().IntVar(&fd, "passphrase-fd", 0, "read the passphrase, one line, from the file descriptor `N`")
	return c
}

// askLock asks for the passphrase at the terminal.
func (a *app) askLock(cmd *cobra.Command, c *agent.Client, verb, title string, turn func(*agent.Client, context.Context, key.LendFunc) error) error {
	passphrase, err := a.askSecret(cmd.Context(), title, "passphrase-fd")
	if err != nil {
		return err
	}
	defer passphrase.Wipe()
	if verb == "lock" {
		again, err := a.askSecret(cmd.Context(), "Enter the passphrase once more.", "passphrase-fd")
		if err != nil {
			return err
		}
		defer again.Wipe()
		if !same(passphrase, again) {
			return fmt.Errorf("the two passphrases were not the same: %w", key.ErrDenied)
		}
	}
	return turn(c, cmd.Context(), lend(passphrase))
}

func same(one, other *secret.Buffer) (same bool) {
	_ = one.Use(func(a []byte) error {
		return other.Use(func(b []byte) error {
			same = subtle.ConstantTimeCompare(a, b) == 1
			return nil
		})
	})
	return same
}

// askSecret asks at the terminal. The flag is what to give where there is none.
func (a *app) askSecret(ctx context.Context, title, flag string) (*secret.Buffer, error) {
	terminal := a.terminal()
	if terminal == nil {
		return nil, hint.Wrap(fmt.Errorf("there is no terminal to ask at: %w", key.ErrDenied), "run this at a terminal, or give --"+flag+" N")
	}
	typed, err := terminal.PIN(ctx, prompt.Prompt{Title: title})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", key.ErrDenied, err)
	}
	return typed, nil
}
