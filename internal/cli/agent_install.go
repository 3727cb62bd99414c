package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/systemd"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

func (a *app) agentInstall() *cobra.Command {
	var host, show bool
	c := &cobra.Command{
		Use:   "install",
		Short: "have systemd start the agent when it is needed",
		Long: `Install writes systemd units for the agent, sealsmith-agent(1), of the user, and starts
their sockets. The agent itself is started by the first program that connects. What to put
into the shell's profile is printed:

  sealsmith agent install >> ~/.profile

With --host-keys, the units are those of the machine's own agent, in /etc/systemd/system.
It keeps the host keys for sshd in /var/lib/sealsmith. What to put into sshd's configuration
is printed:

  sealsmith agent install --host-keys > sealsmith.conf
  sealsmith --socket /run/sealsmith/control.sock key create host --usage ssh-host
  cp sealsmith.conf /etc/ssh/sshd_config.d/
  sshd -t

Units that sealsmith did not write are left alone. Changes of your own belong into drop-ins
(systemctl edit): the next install writes the units anew.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set := systemd.User()
			if host {
				set = systemd.Host()
			}
			program, err := agentProgram()
			if err != nil {
				return err
			}
			if show {
				return a.printUnits(set, program)
			}
			if !host && set.Running() && !set.Installed() {
				if err := a.noAgent(cmd); err != nil {
					return err
				}
			}
			if err := set.Install(program); err != nil {
				return err
			}
			a.say("wrote the units into %s", set.Dir)
			if err := a.systemctl(cmd, set, set.Enable()); err != nil {
				return err
			}
			_, err = fmt.Fprint(a.Out, installed(host))
			return err
		},
	}
	c.Flags().BoolVar(&host, "host-keys", false, "install the machine's agent for host keys, as root")
	c.Flags().BoolVar(&show, "print", false, "print the units and write nothing")
	return c
}

func (a *app) agentUninstall() *cobra.Command {
	var host bool
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "end the agent of sealsmith agent install and remove its units",
		Long: `Uninstall ends the agent that sealsmith agent install set up and removes its units. Keys,
configuration and audit log stay.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			set := systemd.User()
			if host {
				set = systemd.Host()
			}
			if set.Running() {
				if err := systemd.Run(cmd.Context(), set.Disable()); err != nil {
					return err
				}
			}
			removed, err := set.Remove()
			if err != nil {
				return err
			}
			if len(removed) == 0 {
				a.say("nothing was installed in %s", set.Dir)
				return nil
			}
			a.say("removed the units from %s", set.Dir)
			return a.systemctl(cmd, set, set.Reload())
		},
	}
	c.Flags().BoolVar(&host, "host-keys", false, "uninstall the machine's agent for host keys, as root")
	return c
}

// systemctl runs it, or says what to run where systemd does.
func (a *app) systemctl(cmd *cobra.Command, set systemd.Set, commands [][]string) error {
	if set.Running() {
		return systemd.Run(cmd.Context(), commands)
	}
	a.say("systemd cannot be reached from here; where it runs, run:")
	for _, args := range commands {
		a.say("  systemctl %s", strings.Join(args, " "))
	}
	return nil
}

// noAgent refuses to start sockets in the place of those of a running agent:
// systemd would remove them.
func (a *app) noAgent(cmd *cobra.Command) error {
	path := filepath.Join(xdg.Runtime(), "control.sock")
	client, err := agent.Dial(cmd.Context(), path)
	if errors.Is(err, agent.ErrNoAgent) {
		return nil
	}
	if err != nil {
		return err
	}
	defer client.Close()
	status, err := client.Status(cmd.Context())
	if err != nil {
		return err
	}
	return hint.Wrap(fmt.Errorf("an agent runs already, with the PID %d", status.PID), fmt.Sprintf("end it with: kill %d", status.PID))
}

// agentProgram is the agent that belongs to this program: the one beside it, or
// else on PATH.
func agentProgram() (string, error) {
	const name = "sealsmith-agent"
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

func (a *app) printUnits(set systemd.Set, program string) error {
	units, err := set.Units(program)
	if err != nil {
		return err
	}
	for _, u := range units {
		fmt.Fprintf(a.Out, "# %s\n%s\n", u.Path, u.Text)
	}
	return nil
}

// installed is what those who use the agent must know: shells, or sshd.
func installed(host bool) string {
	if host {
		return `# The public key of: sealsmith key create host --usage ssh-host. sshd uses its usual
# host keys beside it only if they have HostKey lines too.
HostKeyAgent /run/sealsmith/ssh.sock
HostKey /var/lib/sealsmith/keys/host.pub
`
	}
	return "export SSH_AUTH_SOCK=\"$XDG_RUNTIME_DIR/sealsmith/ssh.sock\"\n"
}
