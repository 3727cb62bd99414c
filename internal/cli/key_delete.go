package cli

import (
	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/key"
)

func (a *app) keyDelete() *cobra.Command {
	return &cobra.Command{
		Use:   "delete KEY",
		Short: "delete a key for ever",
		Long: `Delete removes a key from the key folder. Nothing can bring it back: the chip keeps
no copy, and no backup can exist outside of one of the key folder.`,
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
			return client.Delete(cmd.Context(), in.ID)
		},
	}
}
