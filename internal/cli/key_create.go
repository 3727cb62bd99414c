package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// keyCreateFlags are the flags of `key create`.
type keyCreateFlags struct {
	usage, algorithm, comment string
	pin, unattended           bool
	pinFD                     int
	wrap                      wrapFlags
}

func (a *app) keyCreate() *cobra.Command {
	var f keyCreateFlags
	c := &cobra.Command{
		Use:   "create NAME --usage ssh|ssh-ca|ssh-host|artifact|digest",
		Short: "create a key in the TPM",
		Long: `Create makes a key inside the TPM, where it stays. Its usage is part of the key and
cannot be changed:

  ssh        log in, sign git commits and files
  ssh-ca     sign OpenSSH certificates: ssh-keygen -s NAME.pub -U
  ssh-host   be the host key of an sshd (HostKeyAgent); without a PIN
  artifact   sign releases: CA bundles, images, statements
  digest     sign any digest, that is, anything

A PIN is checked, and wrong ones are counted, by the TPM itself. Keys of usage
ssh-ca, artifact and digest ask for a confirmation at each use, unless they are
created --unattended; a key that was stays so.

With --wrap-for the key is made in memory, for the TPM of another machine, whose
storage key is in the file: only the wrapped key is written, as a TSS2 key file. It
needs no TPM here, and there it is marked as imported.

  sealsmith key create laptop --usage ssh --pin
  sealsmith key create release --usage artifact
  sealsmith key create laptop --usage ssh --wrap-for parent.pem --output laptop.tpm`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.createKey(cmd.Context(), args[0], f, cmd.Flags().Changed("pin-fd"))
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.usage, "usage", "", "what the key is for: ssh, ssh-ca, ssh-host, artifact or digest")
	flags.StringVar(&f.algorithm, "alg", string(key.P256), "p256, p384, p521, rsa2048, rsa3072 or rsa4096")
	flags.StringVar(&f.comment, "comment", "", "comment of the public key (default NAME)")
	flags.BoolVar(&f.pin, "pin", false, "protect the key with a PIN, which is asked for")
	flags.IntVar(&f.pinFD, "pin-fd", -1, "read the PIN's line from file descriptor `N` (implies --pin)")
	flags.BoolVar(&f.unattended, "unattended", false, "sign without asking anybody: for demos, CI and benchmarks")
	flags.StringVar(&f.wrap.parent, "wrap-for", "", "make the key for the TPM whose storage key is in `FILE` (sealsmith tpm srk)")
	flags.StringVar(&f.wrap.output, "output", "", "write the wrapped key to `FILE`, which must be new (default stdout)")
	flags.StringVar(&f.wrap.pubkey, "pubkey", "", "write the public key of the wrapped key to `FILE` (default stderr)")
	cobra.CheckErr(c.MarkFlagRequired("usage"))
	return c
}

func (a *app) createKey(ctx context.Context, name string, f keyCreateFlags, fromFD bool) error {
	spec := key.Spec{
		Name: name, Usage: key.Usage(f.usage), Algorithm: key.Algorithm(f.algorithm),
		Comment: f.comment, Unattended: f.unattended,
	}
	if err := spec.Validate(); err != nil {
		return err
	}
	if err := f.wrap.check(f.unattended); err != nil {
		return err
	}
	if f.wrap.parent != "" {
		pin, wipe, err := a.localPIN(f.pin, fromFD, f.pinFD, fmt.Sprintf("Choose a PIN for the wrapped key %s.", name))
		if err != nil {
			return err
		}
		defer wipe()
		spec.PIN = pin
		return a.wrapKey(ctx, spec, f.wrap)
	}
	if fromFD {
		pin, err := a.readPIN(f.pinFD)
		if err != nil {
			return err
		}
		defer pin.Wipe()
		spec.PIN = lend(pin)
	}
	client, done, err := a.keys(ctx)
	if err != nil {
		return err
	}
	defer done()
	in, err := a.create(ctx, client, spec, f.pin)
	if errors.Is(err, key.ErrExists) {
		return hint.Wrap(err, "choose another name, or see what it is with: sealsmith key show "+name)
	}
	if err != nil {
		return err
	}
	a.noteNew(in)
	fmt.Fprintln(a.Out, in.Ref.Name)
	return nil
}

// noteNew says what a person may not expect of a key that is there now.
func (a *app) noteNew(in key.Info) {
	if in.Usage == key.Artifact || in.Usage == key.Digest {
		a.warnCosign(in)
	}
	if in.Policy.Unattended && in.Usage.Supervised() {
		a.notice(fmt.Sprintf("whoever has your user id can have %s sign without asking anybody", in.Ref.Name))
	}
}

// create makes the key. A PIN that was not given is asked for here if there is a
// terminal, else by the agent.
func (a *app) create(ctx context.Context, client *agent.Client, spec key.Spec, askPIN bool) (key.Info, error) {
	if !askPIN || spec.PIN != nil {
		return client.Create(ctx, spec)
	}
	if a.noPrompt {
		return key.Info{}, hint.Wrap(fmt.Errorf("no PIN was given: %w", key.ErrDenied), "give it with --pin-fd N")
	}
	if terminal := a.terminal(); terminal != nil {
		spec.PIN = newPIN(terminal, fmt.Sprintf("Choose a PIN for the new key %s.", spec.Name))
		return client.Create(ctx, spec)
	}
	in, err := client.CreateWithPrompt(ctx, spec)
	return in, adviseFD(err, "in a script, give the PIN with --pin-fd N")
}
