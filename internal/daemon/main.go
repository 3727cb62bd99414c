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
	"strings"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/sockets"
	"github.com/sealsmith/sealsmith/internal/version"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// OpenSSH's exit statuses (ssh-agent.c).
const (
	exitFailed     = 1
	exitTerminated = 2 // by a signal, also when all is well
)

const usage = `usage: sealsmith-agent -D [options]
Holds hardware keys for OpenSSH, git and sealsmith until a signal ends it; see
sealsmith-agent(1).

`

// flags are the command line of sealsmith-agent.
type flags struct {
	foreground, debug, version bool
	ssh, control               string
	tpm, config, logFormat     string
}

// Main runs the agent until a signal ends it and returns the exit status.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f, err := parseFlags(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		printError(stderr, err)
		return exitFailed
	case f.version:
		fmt.Fprintln(stderr, "sealsmith-agent", version.Text())
		return 0
	}
	// A reader of stdout that went away must not end the agent.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	defer stop()
	// The second signal ends an agent that does not heed the first.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, f, stdout, stderr); err != nil {
		printError(stderr, err)
		return exitFailed
	}
	return exitTerminated
}

func parseFlags(args []string, stderr io.Writer) (*flags, error) {
	var f flags
	set := flag.NewFlagSet("sealsmith-agent", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.BoolVar(&f.foreground, "D", false, "stay in the foreground")
	set.BoolVar(&f.debug, "d", false, "stay in the foreground and log each step")
	set.StringVar(&f.ssh, "a", filepath.Join(xdg.Runtime(), "ssh.sock"), "`path` of the ssh-agent socket")
	set.StringVar(&f.control, "control", filepath.Join(xdg.Runtime(), "control.sock"), "`path` of the control socket")
	set.StringVar(&f.tpm, "tpm", "", "TPM `device`: a path, swtpm:DIR or unix:PATH")
	set.StringVar(&f.config, "config", "", "configuration `file`")
	set.StringVar(&f.logFormat, "log-format", "text", "text or json")
	set.BoolVar(&f.version, "V", false, "print the version")
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		set.SetOutput(stderr)
		fmt.Fprint(stderr, usage)
		set.PrintDefaults()
		return nil, err
	case err != nil:
		return nil, hint.Wrap(err, "see sealsmith-agent -h")
	}
	switch {
	case f.version:
	case set.NArg() > 0:
		return nil, hint.Wrap(fmt.Errorf("unexpected argument %.80q", set.Arg(0)), "see sealsmith-agent -h")
	case !f.foreground && !f.debug:
		return nil, hint.Wrap(errors.New("the agent runs in the foreground only"), "start it with: sealsmith-agent -D")
	}
	// Who evals what we print may be in another folder by then.
	for _, path := range []*string{&f.ssh, &f.control} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return nil, err
		}
		*path = absolute
	}
	return &f, nil
}

// run serves both sockets until ctx ends.
func run(ctx context.Context, f *flags, stdout, stderr io.Writer) error {
	level := slog.LevelInfo
	if f.debug {
		level = slog.LevelDebug
	}
	log, err := logx.New(stderr, f.logFormat, level)
	if err != nil {
		return err
	}
	d, err := New(Options{Config: f.config, TPM: f.tpm, Log: log, Notice: func(text string) { log.Warn(text) }})
	if err != nil {
		return err
	}
	err = d.serve(ctx, f, stdout, log)
	// What is left to finish has the time of one device command.
	stopping, cancel := context.WithTimeout(context.Background(), limits.AgentStop)
	defer cancel()
	return errors.Join(err, d.Close(stopping))
}

// serve opens the sockets, says where, and serves until ctx ends or a socket
// fails. The server closes the sockets when it is shut down.
func (d *Daemon) serve(ctx context.Context, f *flags, stdout io.Writer, log *slog.Logger) error {
	ssh, err := sockets.Listen(f.ssh)
	if err != nil {
		return fmt.Errorf("ssh socket: %w", err)
	}
	control, err := sockets.Listen(f.control)
	if err != nil {
		return errors.Join(fmt.Errorf("control socket: %w", err), ssh.Close())
	}
	failed := make(chan error, 2)
	go func() { failed <- d.server.ServeSSH(ssh) }()
	go func() { failed <- d.server.ServeControl(control) }()
	// The lines of ssh-agent -D, for those who eval them.
	if _, err := fmt.Fprintf(stdout, "SSH_AUTH_SOCK=%s; export SSH_AUTH_SOCK;\necho Agent pid %d;\n", shellQuote(f.ssh), os.Getpid()); err != nil {
		log.Warn("nobody reads where the sockets are", logx.Err, err)
	}
	log.Info("agent started", logx.Device, d.device.String(), "ssh", f.ssh, "control", f.control, "version", version.Text())
	select {
	case <-ctx.Done():
		log.Info("agent ends", "cause", context.Cause(ctx))
		return nil
	case err := <-failed:
		return err
	}
}

// shellQuote writes a path as ssh-agent does: in double quotes if it has to be.
func shellQuote(path string) string {
	if !strings.ContainsAny(path, " \t\"'\\$`;&|<>()*?[]#~") {
		return path
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(path) + `"`
}

func printError(w io.Writer, err error) {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(w, "sealsmith-agent: error: %s\n", strings.TrimRight(line, "\n"))
	}
	for _, text := range hint.Of(err) {
		fmt.Fprintf(w, "sealsmith-agent: hint: %s\n", text)
	}
}
