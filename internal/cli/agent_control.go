package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/hint"
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
	client, err := agent.Dial(cmd.Context(), socket)
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
what a running agent keeps (tpm:, pinentry:), nothing changes and the exit status is 1. What was begun before goes by the
old rules; PINs that are to be remembered for another time than before are forgotten.`,
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
			return a.withAgent(cmd, func(c *agent.Client) error {
				in, err := c.Resolve(cmd.Context(), ref)
				if err != nil {
					return err
				}
				var pin *secret.Buffer
				switch {
				case !in.Policy.PIN:
					return usageError(fmt.Errorf("the key %s has no PIN", in.Ref))
				case cmd.Flags().Changed("pin-fd"):
					pin, err = readPIN(fd)
				default:
					pin, err = a.askSecret(cmd.Context(), fmt.Sprintf("Enter the PIN of the key %s, for the agent to remember.", in.Ref))
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

// askSecret asks at the terminal.
func (a *app) askSecret(ctx context.Context, title string) (*secret.Buffer, error) {
	terminal := a.terminal()
	if terminal == nil {
		return nil, hint.Wrap(fmt.Errorf("there is no terminal to ask at: %w", key.ErrDenied), "run this at a terminal, or give --pin-fd N")
	}
	typed, err := terminal.PIN(ctx, prompt.Prompt{Title: title})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", key.ErrDenied, err)
	}
	return typed, nil
}
