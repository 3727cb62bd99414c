package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/internal/version"
	"github.com/sealsmith/sealsmith/key"
)

// Streams are the program's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// app is what the commands share: the streams and the global flags.
type app struct {
	Streams
	config   string
	socket   string
	tpm      string
	direct   bool
	json     bool
	quiet    bool
	verbose  bool
	noPrompt bool

	// onStop has f called when the command is stopped, by context.AfterFunc.
	onStop func(f func()) (stop func() bool)

	started bool // the command itself runs: its line was understood
	alone   bool // there is no agent, so this process asks
}

// Main runs a command line (without the program's name) and returns the exit
// status. It prints errors itself. Cancelling ctx stops the command, which then
// leaves no half-written file.
func Main(ctx context.Context, args []string, std Streams) int {
	out := &stickyWriter{Writer: std.Out}
	std.Out = out
	a := &app{Streams: std, onStop: func(f func()) func() bool { return context.AfterFunc(ctx, f) }}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(std.In)
	root.SetOut(std.Out)
	root.SetErr(std.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !a.started {
		err = hint.Wrap(usageError(err), "see: "+cmd.CommandPath()+" --help")
	}
	if err == nil {
		err = out.err
	}
	if err != nil {
		a.printError(err)
	}
	return exitStatus(err)
}

// Command is the root of the command tree, for those who document it.
func Command() *cobra.Command { return new(app).command() }

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "sealsmith",
		Short: "keep signing keys in hardware, and sign, build and verify with them",
		Long: `Sealsmith keeps SSH and release keys in a TPM 2.0, signs TPM CA bundles and OCI
images with them, and verifies what others signed.

  sealsmith key create laptop --usage ssh
  sealsmith key create release --usage artifact
  sealsmith bundle build --date 2026-11-20 --output release
  sealsmith bundle sign release --key release
  sealsmith key pubkey release > release.pub
  sealsmith bundle verify release --key release.pub

A command that needs a key asks the agent, sealsmith-agent(1). If none runs, and none was
named by --socket or SEALSMITH_SOCKET, it uses the device itself and asks at the terminal.

Exit status: 0 done; 1 failed; 2 wrong usage; 3 checked and refused; 4 denied or
cancelled by the user; 5 device missing, busy or locked out; 6 too old, or soon to be.`,
		Version:           version.Text(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		DisableAutoGenTag: true,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.config, "config", "", "configuration `FILE` (default $XDG_CONFIG_HOME/sealsmith/config.yaml)")
	flags.StringVar(&a.socket, "socket", "", "control socket `PATH` of the agent (default $SEALSMITH_SOCKET, else beside $SSH_AUTH_SOCK, else in the runtime folder)")
	flags.StringVar(&a.tpm, "tpm", "", "TPM `DEVICE`: a path, swtpm:DIR or unix:PATH (default $SEALSMITH_TPM, the configuration, /dev/tpmrm0)")
	flags.BoolVar(&a.direct, "direct", false, "use the device from this process, never through an agent")
	flags.BoolVar(&a.json, "json", false, "print JSON, where something is shown or verified")
	flags.BoolVar(&a.quiet, "quiet", false, "print no progress, warnings or passed checks; notes and errors stay")
	flags.BoolVar(&a.verbose, "verbose", false, "say what is done")
	flags.BoolVar(&a.noPrompt, "no-prompt", false, "never ask a person; fail instead")
	root.AddCommand(
		a.initCommand(),
		a.group("key", "keys in hardware", a.keyCreate(), a.keyImport(), a.keyList(), a.keyShow(), a.keyPubkey(), a.keyPIN(), a.keyAttest(), a.keyVerifyAttestation(), a.keyDelete()),
		a.group("agent", "the agent that holds the device", a.agentStatus(), a.agentReload(), a.agentLock(), a.agentUnlock(), a.agentUnlockKey(), a.agentInstall(), a.agentUninstall(), a.group("audit", "the log of what the agent was asked to do", a.agentAuditVerify())),
		a.group("tpm", "the TPM itself", a.tpmStatus(), a.tpmSRK(), a.tpmEK(), a.tpmChallenge(), a.tpmAnswer(), a.tpmEnrol()),
		a.group("bundle", "TPM CA bundles", a.bundleBuild(), a.catalogGroup(), a.bundleCheck(), a.bundleDiff(), a.bundleFetch(), a.bundleShow(), a.bundleExport(), a.bundleSign(), a.bundleVerify(), a.bundleVerifyEK(), a.bundleWatch()),
		a.group("image", "OCI images", a.imageBuild(), a.imageSign(), a.imageVerify()),
		a.versionCommand(),
	)
	helpTopics(root)
	a.markStarted(root)
	complete(root)
	return root
}

// markStarted lets every command note that it runs. What cobra complains about
// before that (flags, arguments) is wrong usage, and is marked so in one place.
func (a *app) markStarted(c *cobra.Command) {
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			a.started = true
			return run(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		a.markStarted(sub)
	}
}

// group is a noun: its verbs do the work.
func (a *app) group(noun, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:   noun,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(verbs...)
	return c
}

// say prints a line for people; --quiet silences it.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintln(a.Err, printable(fmt.Sprintf(format, args...)))
	}
}

// notice prints what a person must not miss, such as a device that protects
// nothing.
func (a *app) notice(text string) { fmt.Fprintf(a.Err, "sealsmith: note: %s\n", printable(text)) }

func (a *app) log() *slog.Logger {
	level := slog.LevelWarn
	if a.verbose {
		level = slog.LevelDebug
	}
	log, err := logx.New(a.Err, "text", level)
	if err != nil {
		panic(err) // "text" is a format
	}
	return log
}

// usageError marks an error of the command line itself: exit status 2.
func usageError(err error) error { return fmt.Errorf("%w: %w", key.ErrUsage, err) }
