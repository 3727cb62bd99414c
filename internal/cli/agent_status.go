package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
)

func (a *app) agentStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "show the running agent",
		Long: `Status asks the agent what it is, which keys and PINs it holds, which device, and whether
the device answers. Without an agent the exit status is 1, without its device 5.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAgent(cmd, func(c *agent.Client) error {
				status, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				device, deviceErr := c.Device(cmd.Context())
				socket, _ := a.controlSocket()
				if a.json {
					return errors.Join(deviceErr, a.printJSON(struct {
						agent.Status
						Socket       string          `json:"socket"`
						DeviceStatus json.RawMessage `json:"device_status,omitempty"` // as GET /v1/device has it
					}{status, socket, device.Status}))
				}
				return errors.Join(deviceErr, a.printStatus(status, socket, deviceErr == nil))
			})
		},
	}
}

// printStatus prints the table for people.
func (a *app) printStatus(s agent.Status, socket string, answers bool) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, printable(value)) }
	row("version", s.Version)
	row("pid", fmt.Sprint(s.PID))
	row("socket", socket)
	switch ssh := s.Sockets.SSH; {
	case ssh == "":
	case isGone(ssh):
		row("ssh socket", ssh+", which is not there: if somebody removed it, restart the agent")
	default:
		row("ssh socket", ssh)
	}
	row("device", s.Device)
	row("answers", yesNo(answers))
	if e := s.DeviceError; e != nil {
		row("last error", fmt.Sprintf("%s: %s", e.Time.Local().Format(time.DateTime), e.Message))
	}
	row("locked", yesNo(s.Locked))
	row("keys", fmt.Sprintf("%d in hardware, %d in memory", s.Keys.Hardware, s.Keys.Software))
	for _, pin := range s.PINs {
		row("PIN held", fmt.Sprintf("of key %s, for %v unless it is used", pin.Key.Short(), time.Duration(pin.Seconds)*time.Second))
	}
	if s.Configuration.File != "" {
		row("configuration", fmt.Sprintf("%s, loaded %s", s.Configuration.File, s.Configuration.Loaded.Local().Format(time.DateTime)))
	}
	return w.Flush()
}

// isGone says whether somebody removed the socket of an agent that runs: nobody
// finds that agent any more.
func isGone(socket string) bool {
	_, err := os.Lstat(socket)
	return errors.Is(err, fs.ErrNotExist)
}
