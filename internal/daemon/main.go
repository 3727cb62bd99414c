package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"

	"github.com/sealsmith/sealsmith/internal/config"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/sockets"
	"github.com/sealsmith/sealsmith/internal/version"
)

// OpenSSH's exit statuses (ssh-agent.c).
const (
	exitFailed     = 1
	exitTerminated = 2 // by a signal, also when all is well
)

// Main is the program: it serves until a signal ends it, or does what the options
// say instead. It returns the exit status.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == helperArg {
		if err := helperMain(args[1:]); err != nil {
			printError(stderr, err)
			return exitFailed
		}
		return 0
	}
	f, err := parseFlags(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	ready, readyErr := readyPipe()
	status := 0
	switch {
	case err != nil || readyErr != nil:
		err = errors.Join(err, readyErr)
	case f.version:
		fmt.Fprintln(stderr, "sealsmith-agent", version.Text())
	case f.kill:
		err = killAgent(f.shell, stdout)
	case f.sweep:
		err = sockets.Sweep()
	case !f.foreground && ready == nil:
		err = startBackground(f, args, stdout, stderr)
	default:
		status, err = run(ctx, f, ready, stdout, stderr)
	}
	if err != nil {
		printError(stderr, err)
		return exitFailed
	}
	return status
}

// run serves both sockets until ctx or a signal ends it, and returns the exit
// status.
func run(ctx context.Context, f *flags, ready *os.File, stdout, stderr io.Writer) (status int, err error) {
	ctx, stop := signalContext(ctx, f)
	defer stop()
	f.detached = ready != nil
	log, shown, err := newLog(f, stderr)
	if err != nil {
		return 0, err
	}
	status, err = start(ctx, f, ready, stdout, log)
	switch {
	case err == nil || shown: // it is printed
	case errors.Is(err, sockets.ErrInUse):
		log.Info("not needed", logx.Err, err) // as at each login but the first
	default:
		log.Error("agent failed", logx.Err, err, logx.Hint, hint.Of(err))
	}
	return status, err
}

// start makes the agent and has it serve.
func start(ctx context.Context, f *flags, ready *os.File, stdout io.Writer, log *slog.Logger) (status int, err error) {
	syscall.Umask(0o077)
	debug.SetGCPercent(limits.AgentGarbage)
	// First, so that nobody else is given the sockets that were handed to us.
	p, err := openPlaces(f, log)
	if err != nil {
		return 0, err
	}
	if err := closeInherited(); err != nil {
		return 0, errors.Join(err, p.close())
	}
	m := newManager(ready != nil, log)
	d, closeAll, err := assemble(f, p, log)
	if err != nil {
		return 0, errors.Join(err, p.close())
	}
	status, err = d.serve(ctx, f, ready, m, stdout, log)
	return status, errors.Join(err, closeAll())
}

// assemble makes the agent that serves these sockets, and its helper.
func assemble(f *flags, p *places, log *slog.Logger) (d *Daemon, closeAll func() error, err error) {
	// The helper, and the agent in the background, are in another folder.
	if f.config, err = filepath.Abs(config.File(f.config)); err != nil {
		return nil, nil, err
	}
	h, wait, err := startHelper(f, log)
	if err != nil {
		return nil, nil, err
	}
	closeHelper := func() {
		if err := errors.Join(h.Close(), wait()); err != nil {
			log.Warn("the helper did not end in order", logx.Err, err)
		}
	}
	d, err = New(Options{places: p, Config: f.config, TPM: f.tpm, Lifetime: f.life, helper: h, Log: log, Notice: func(text string) { log.Warn(text) }})
	if err != nil {
		closeHelper()
		return nil, nil, err
	}
	return d, func() error {
		defer closeHelper()
		// What is left to finish has the time of one device command.
		stopping, cancel := context.WithTimeout(context.Background(), limits.AgentStop)
		defer cancel()
		return d.Close(stopping)
	}, nil
}

// signalContext ends at the signals that end the agent, and, if the agent is for
// one command, with that command.
func signalContext(ctx context.Context, f *flags) (context.Context, context.CancelFunc) {
	// A reader of stdout that went away must not end the agent; nor may SIGUSR1
	// before it is served.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGUSR1)
	ends := []os.Signal{syscall.SIGTERM, syscall.SIGHUP}
	if f.foreground {
		ends = append(ends, os.Interrupt)
	} else {
		signal.Ignore(os.Interrupt)
	}
	ctx, stop := signal.NotifyContext(ctx, ends...)
	// The second signal ends an agent that does not heed the first.
	context.AfterFunc(ctx, stop)
	if len(f.command) == 0 {
		return ctx, stop
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go watchParent(ctx, os.Getppid(), cancel) // that one waits, and lives, until we serve
	return ctx, func() { cancel(nil); stop() }
}

// serve gives up what serving does not need, says where the sockets are, and serves
// until ctx ends or a socket fails. The server closes the sockets when it is shut down.
func (d *Daemon) serve(ctx context.Context, f *flags, ready *os.File, m *manager, stdout io.Writer, log *slog.Logger) (status int, err error) {
	if err := d.restrict(log); err != nil {
		return 0, err
	}
	// Nobody waits for the answer, not even of a helper that hangs while the agent ends.
	go func() {
		switch err := d.helper.Choose(ctx, false); {
		case ctx.Err() != nil:
		case err != nil:
			log.Warn("who asks people is not known", logx.Err, err)
		default:
			log.Info("people are asked", "by", d.helper.Asks())
		}
	}()
	p := d.places
	drop := make(chan os.Signal, 1)
	signal.Notify(drop, syscall.SIGUSR1)
	defer signal.Ignore(syscall.SIGUSR1)
	failed := make(chan error, 2)
	go func() { failed <- d.server.ServeSSH(p.ssh) }()
	go func() { failed <- d.server.ServeControl(p.control) }()
	if err := announce(f, p, ready, m, stdout, log); err != nil {
		return 0, err
	}
	log.Info("agent started", logx.Device, d.device.String(), "ssh", p.ssh.Addr(), "control", p.control.Addr(), "version", version.Text())
	for ctx.Err() == nil {
		select {
		case <-drop:
			d.server.RemoveSoftwareKeys()
		case <-ctx.Done():
		case err := <-failed:
			return 0, err
		}
	}
	log.Info("agent ends", "cause", context.Cause(ctx))
	m.tell(sdnotify.SdNotifyStopping)
	if p.activated {
		return 0, nil // who starts it at need asks for a clean end
	}
	return exitTerminated, nil
}

// announce says where the agent serves: to the process that waits for it, to those
// who eval what it prints, and to a service manager.
func announce(f *flags, p *places, ready *os.File, m *manager, stdout io.Writer, log *slog.Logger) error {
	if ready != nil {
		return detach(ready, p.ssh.Addr().String())
	}
	if !p.activated {
		_, err := fmt.Fprintf(stdout, "%secho Agent pid %d;\n", f.shell.set(envSocket, p.ssh.Addr().String()), os.Getpid())
		if err != nil {
			log.Warn("nobody reads where the sockets are", logx.Err, err)
		}
	}
	m.tell(sdnotify.SdNotifyReady)
	return nil
}

func printError(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(w, "sealsmith-agent: error: %s\n", strings.TrimRight(line, "\n"))
	}
	for _, text := range hint.Of(err) {
		fmt.Fprintf(w, "sealsmith-agent: hint: %s\n", text)
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		fmt.Fprint(w, usage)
	}
}
