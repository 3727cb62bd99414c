package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/key"
)

func (a *app) keyDelete() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "delete KEY",
		Short: "delete a key for ever",
		Long: `Delete removes a key from the key folder. Nothing can bring it back: the chip keeps
no copy. It asks first, at the terminal; elsewhere --yes must say that it is meant.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := key.ParseRef(args[0])
			if err != nil {
				return err
			}
			client, done, err := a.keys(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			in, err := client.Resolve(cmd.Context(), ref)
			if err != nil {
				return err
			}
			if !yes {
				if err := a.confirmDelete(cmd.Context(), in); err != nil {
					return err
				}
			}
			if err := client.Delete(cmd.Context(), in); err != nil {
				return err
			}
			a.say("deleted %s", in.Ref)
			return nil
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// confirmDelete asks at the terminal whether the key is to go.
func (a *app) confirmDelete(ctx context.Context, in key.Info) error {
	terminal := a.terminal()
	if terminal == nil {
		return hint.Wrap(usageError(errors.New("there is no terminal to ask at")), "to delete without being asked, give --yes")
	}
	err := terminal.Confirm(ctx, prompt.Prompt{
		Title: fmt.Sprintf("Delete the key %s for ever?", in.Ref),
		Facts: []prompt.Line{{Label: "Usage", Value: string(in.Usage)}, {Label: "ID", Value: string(in.ID)}},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", key.ErrDenied, err)
	}
	return nil
}
