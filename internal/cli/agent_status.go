package cli

import (
	"encoding/json"
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
		Long: `Status asks the agent what it is, which device it holds, and whether the device
answers. Without an agent the exit status is 1, without its device 5.`,
		Args: cobra.NoArgs,
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
			device, deviceErr := client.Device(cmd.Context())
			if a.json {
				return errors.Join(deviceErr, a.printJSON(struct {
					agent.Status
					Socket       string          `json:"socket"`
					DeviceStatus json.RawMessage `json:"device_status,omitempty"` // as GET /v1/device has it
				}{status, socket, device.Status}))
			}
			answers := yesNo(deviceErr == nil)
			w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "version\t%s\npid\t%d\nsocket\t%s\ndevice\t%s\nanswers\t%s\n", printable(status.Version), status.PID, printable(socket), printable(status.Device), answers)
			return errors.Join(deviceErr, w.Flush())
		},
	}
}
