package daemon

import (
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/config"
	"github.com/sealsmith/sealsmith/internal/helper"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/tpm"
)

// helperArg is the first argument of a process that startHelper started; the others
// are the configuration file and the device.
const helperArg = "--helper"

// startHelper starts the helper of an agent, which must be closed, and then waited
// for.
func startHelper(f *flags, log *slog.Logger) (h *helper.Client, wait func() error, err error) {
	c, err := config.Load(f.config)
	if err != nil {
		return nil, nil, err
	}
	device, err := deviceOf(f.tpm, c)
	if err != nil {
		return nil, nil, err
	}
	var stderr *os.File
	if f.foreground && !f.detached {
		stderr = os.Stderr // in the background it is somebody else's, who waits for its end
	}
	return helper.Start([]string{helperArg, f.config, device}, stderr, func(err error) {
		log.Error("the helper is lost: until the agent is restarted, nobody can be asked", logx.Err, err)
	})
}

// helperMain is the helper. It leaves when the agent does.
func helperMain(args []string) error {
	// Signals for a group of processes are the agent's to heed. They are not ignored,
	// or the programs that we start would ignore them too.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGUSR1)
	if err := Harden(); err != nil {
		return err
	}
	if len(args) != 2 {
		return errors.New("only the agent starts a helper")
	}
	conn, err := helper.Line()
	if err != nil {
		return err
	}
	choose := func() (prompt.Prompter, error) {
		c, err := config.Load(args[0])
		if err != nil {
			return nil, err
		}
		return prompt.New(c.Pinentry), nil
	}
	prompter, err := choose()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	services := helper.Services{Prompter: prompter, Choose: choose}
	if strings.HasPrefix(args[1], "swtpm:") {
		s, err := tpm.NewSWTPM(args[1], nil)
		if err != nil {
			return errors.Join(err, conn.Close())
		}
		services.StartSWTPM = s.Start
	}
	return helper.Serve(conn, services)
}
