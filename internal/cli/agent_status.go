package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/systemd"
	"github.com/sealsmith/sealsmith/key"
)

// hostSocket is the control socket of the machine's own agent.
const hostSocket = "/run/sealsmith/control.sock"

func (a *app) agentStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "show the running agent",
		Long: `Status asks the agent what it is, which keys and PINs it holds, which device, and whether
the device answers, to it or to the agent that has it. Without an agent the exit status is 1,
without its device 5.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAgent(cmd, func(c *agent.Client) error {
				status, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				r := agentReport{Status: status}
				r.Socket, _ = a.controlSocket()
				r.Units = unitsOf(r.Socket)
				deviceErr := r.device(cmd.Context(), c)
				if a.json {
					return errors.Join(deviceErr, a.printJSON(r))
				}
				return errors.Join(deviceErr, a.printStatus(r, deviceErr == nil))
			})
		},
	}
}

// agentReport is what agent status prints.
type agentReport struct {
	agent.Status
	Socket       string          `json:"socket"`
	DeviceStatus json.RawMessage `json:"device_status,omitempty"` // as GET /v1/device has it
	DevicePID    int             `json:"device_pid,omitempty"`    // of the agent that has it, if it is another
	Units        *unitReport     `json:"units,omitempty"`         // of systemd; nil: it starts no such agent
}

// unitReport says which units start an agent.
type unitReport struct {
	Folder  string   `json:"folder"`
	Missing []string `json:"missing"` // or not written by agent install
}

// unitsOf are the units of the agent with that control socket.
func unitsOf(socket string) *unitReport {
	set := systemd.User()
	switch socket {
	case hostSocket:
		set = systemd.Host()
	case usualSocket("control.sock"):
	default:
		return nil
	}
	return &unitReport{set.Dir, append([]string{}, set.Missing()...)}
}

// device asks for the state of the device: the agent itself, or the usual one, if that has
// the device. It signs for all others.
func (r *agentReport) device(ctx context.Context, c *agent.Client) error {
	device, err := c.Device(ctx)
	r.DeviceStatus = device.Status
	if !errors.Is(err, key.ErrBusy) {
		return err
	}
	usual, dialErr := agent.Dial(ctx, usualSocket("control.sock"))
	if dialErr != nil {
		return err
	}
	defer usual.Close()
	status, statusErr := usual.Status(ctx)
	if statusErr != nil || status.PID == r.PID || status.Device != r.Device {
		return err
	}
	device, err = usual.Device(ctx)
	r.DevicePID, r.DeviceStatus, r.DeviceError = status.PID, device.Status, status.DeviceError
	return err
}

// printStatus prints the table for people.
func (a *app) printStatus(s agentReport, answers bool) error {
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, printable(value)) }
	row("version", s.Version)
	row("pid", fmt.Sprint(s.PID))
	row("socket", s.Socket)
	switch ssh := s.Sockets.SSH; {
	case ssh == "":
	case isGone(ssh):
		row("ssh socket", ssh+", which is not there: if somebody removed it, restart the agent")
	default:
		row("ssh socket", ssh)
	}
	row("device", s.Device)
	if s.DevicePID != 0 {
		row("held by", fmt.Sprintf("the agent with the PID %d, which signs for this one", s.DevicePID))
	}
	row("answers", yesNo(answers))
	if e := s.DeviceError; e != nil {
		row("last error", fmt.Sprintf("%s: %s", e.Time.Local().Format(time.DateTime), e.Message))
	}
	row("locked", yesNo(s.Locked))
	row("keys", fmt.Sprintf("%d in hardware, %d in memory", s.Keys.Hardware, s.Keys.Software))
	for _, pin := range s.PINs {
		row("PIN held", fmt.Sprintf("of key %s, for %v unless it is used", pin.Key.Short(), time.Duration(pin.Seconds)*time.Second))
	}
	if s.Process != nil {
		row("asks by", s.Asks)
		row("sandbox", s.Sandbox.String())
	}
	if s.Units != nil {
		row("units", s.Units.String())
	}
	if s.Configuration.File != "" {
		row("configuration", fmt.Sprintf("%s, loaded %s", s.Configuration.File, s.Configuration.Loaded.Local().Format(time.DateTime)))
	}
	return w.Flush()
}

// String is for people.
func (u *unitReport) String() string {
	switch len(u.Missing) {
	case 0:
		return "in " + u.Folder
	case systemd.Units:
		return "none: systemd does not start this agent"
	}
	return fmt.Sprintf("in %s, without %s", u.Folder, strings.Join(u.Missing, ", "))
}

// isGone says whether somebody removed the socket of an agent that runs: nobody
// finds that agent any more.
func isGone(socket string) bool {
	_, err := os.Lstat(socket)
	return errors.Is(err, fs.ErrNotExist)
}
