package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/config"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/secret"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

func (a *app) initCommand() *cobra.Command {
	s := setUp{app: a, result: initResult{Tests: []string{}}}
	c := &cobra.Command{
		Use:   "init [NAME]",
		Short: "set everything up: from nothing to a first login",
		Long: `Init finds the TPM, makes an SSH key in it, has the agent started whenever it is needed,
and prints what to paste where, so that ssh and git find the agent. Then it tests itself:
it lists the key with ssh-add, and signs and verifies with ssh-keygen. Each step is told.

It replaces nothing: run it again, and it does only what is missing. Without a NAME it
takes the SSH key that is there, or else names a new one after the machine.

With --write it puts the lines into the files itself, between two marker lines of its own,
and keeps a copy of each file that it changes.

  sealsmith init
  sealsmith init --test me@server.example
  sealsmith init laptop --no-pin --write

Without a TPM, a software TPM shows how all this works. It protects nothing:

  sealsmith init --tpm swtpm:$HOME/swtpm`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				s.name = args[0]
			}
			s.fromFD = cmd.Flags().Changed("pin-fd")
			return s.run(cmd.Context())
		},
	}
	flags := c.Flags()
	flags.BoolVar(&s.noPIN, "no-pin", false, "make keys without a PIN, and do not ask about it")
	flags.IntVar(&s.pinFD, "pin-fd", -1, "read the PIN's line from file descriptor `N`")
	flags.BoolVar(&s.release, "release", false, "also make a key that signs releases, named release")
	flags.BoolVar(&s.write, "write", false, "put the lines into your files, instead of printing them")
	flags.StringVar(&s.test, "test", "", "log in to `USER@HOST`, which has the public key already, as the last test")
	c.MarkFlagsMutuallyExclusive("no-pin", "pin-fd")
	return c
}

// setUp is one run of init: what it was told, and what it found and made.
type setUp struct {
	*app
	name, test             string
	noPIN, fromFD, release bool
	write                  bool
	pinFD                  int

	pin    *secret.Buffer // from pinFD
	chosen *secret.Buffer // for the key that was made now
	device string
	in     key.Info
	// signing says that git signs with the key, once it has its lines.
	signing bool
	result  initResult
}

// initResult is what --json prints.
type initResult struct {
	Device     string   `json:"device"`
	Key        keyJSON  `json:"key"`
	ReleaseKey *keyJSON `json:"release_key,omitempty"`
	Socket     string   `json:"socket"` // for SSH_AUTH_SOCK
	Lines      []block  `json:"lines"`
	Tests      []string `json:"tests"` // that passed
}

func (s *setUp) run(ctx context.Context) error {
	if err := s.check(); err != nil {
		return err
	}
	if s.fromFD {
		pin, err := s.readPIN(s.pinFD)
		if err != nil {
			return err
		}
		defer pin.Wipe()
		s.pin = pin
	}
	defer s.forget()
	for _, step := range []func(context.Context) error{s.deviceAndKeys, s.runAgent, s.lines} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	err := s.tests(ctx)
	if s.json {
		return errors.Join(err, s.printJSON(s.result))
	}
	s.printLines()
	if err == nil {
		s.next()
	}
	return err
}

// check refuses what this command cannot set up, before it does anything.
func (s *setUp) check() error {
	if s.direct || s.socket != "" || os.Getenv("SEALSMITH_SOCKET") != "" {
		return usageError(errors.New("init sets up the usual agent of its user, without --direct, --socket and SEALSMITH_SOCKET"))
	}
	if config.File(s.config) != xdg.ConfigFile() {
		return usageError(errors.New("init sets up the usual agent of its user, without --config and SEALSMITH_CONFIG"))
	}
	if s.name != "" {
		if err := (key.Spec{Name: s.name, Usage: key.SSH, Algorithm: key.P256}).Validate(); err != nil {
			return err
		}
	}
	if s.test != "" && s.test[0] == '-' {
		return usageError(fmt.Errorf("%.200q is no USER@HOST", s.test))
	}
	for _, program := range []string{"ssh", "ssh-add", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			return hint.Wrap(err, "install OpenSSH's client: the package openssh-client or openssh-clients")
		}
	}
	if err := checkPlaces(); err != nil {
		return err
	}
	return s.checkPIN()
}

// checkPlaces refuses places of which other programs would read something else than we
// write, and those where our files would be in the way of their owner.
func checkPlaces() error {
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return hint.Wrap(fmt.Errorf("HOME is %.200q, not a whole path", home), "log in as the user for whom to set up the agent")
	}
	for _, path := range []string{home, userConfig(), xdg.Data(), xdg.State(), xdg.Runtime()} {
		if strings.ContainsFunc(path, unicode.IsControl) {
			return hint.Wrap(fmt.Errorf("the path %.200q has a control character", path), "choose another, by HOME or XDG_…")
		}
	}
	info, err := os.Stat(home)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Getuid() == 0 && owner.Uid != 0 {
		return hint.Wrap(fmt.Errorf("the home folder %s belongs to uid %d, who could not change what root writes there", home, owner.Uid), "run this without sudo")
	}
	return nil
}
