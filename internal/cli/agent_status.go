package cli

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
)

func (a *app) agentStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "show the running agent",
		Long:  "Status asks the agent what it is and which device it holds. Without an agent the\nexit status is 1.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.direct {
				return usageError(errors.New("--direct does without the agent"))
			}
			socket, _ := a.controlSocket()
			client, err := agent.Dial(cmd.Context(), socket)
			if err != nil {
				return err
			}
			defer client.Close()
			status, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					agent.Status
					Socket string `json:"socket"`
				}{status, socket})
			}
			w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "version\t%s\npid\t%d\ndevice\t%s\nsocket\t%s\n", status.Version, status.PID, status.Device, socket)
			return w.Flush()
		},
	}
}
