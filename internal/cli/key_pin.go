package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// keyPINFlags are the flags of `key pin`.
type keyPINFlags struct {
	oldFD, newFD      int
	remove, guessable bool
}

func (a *app) keyPIN() *cobra.Command {
	var f keyPINFlags
	c := &cobra.Command{
		Use:   "pin KEY",
		Short: "set, change or remove the PIN of a key",
		Long: `Pin gives a key another PIN, its first one, or none (--remove). The PIN that the key
has is asked for, and checked by the TPM, which counts a wrong one.

Copies of the key file that were made before keep the PIN that they have. Only a
new key gets rid of them.

A key that was created without a PIN gets none later: its TPM does not count wrong
PINs of it, so one could be guessed. A key whose PIN was removed can get another; it
is refused, like keys with a PIN, while the TPM is locked out.

  sealsmith key pin laptop
  printf '%s\n' "$old" "$new" | sealsmith key pin laptop --pin-fd 0 --new-pin-fd 0`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := key.ParseRef(args[0])
			if err != nil {
				return err
			}
			change := key.PINChange{GuessableUnsafe: f.guessable}
			if cmd.Flags().Changed("pin-fd") {
				pin, err := a.readPIN(f.oldFD)
				if err != nil {
					return err
				}
				defer pin.Wipe()
				change.Old = lend(pin)
			}
			if cmd.Flags().Changed("new-pin-fd") {
				pin, err := a.readPIN(f.newFD)
				if err != nil {
					return err
				}
				defer pin.Wipe()
				change.New = lend(pin)
			}
			return a.changePIN(cmd.Context(), ref, change, f.remove)
		},
	}
	flags := c.Flags()
	flags.BoolVar(&f.remove, "remove", false, "remove the PIN")
	flags.IntVar(&f.oldFD, "pin-fd", -1, "read the line of the PIN that the key has from file descriptor `N`")
	flags.IntVar(&f.newFD, "new-pin-fd", -1, "read the line of the new PIN from file descriptor `N`; both may be 0")
	flags.BoolVar(&f.guessable, "guessable-unsafe", false, "set a PIN though the TPM does not count wrong ones of this key")
	c.MarkFlagsMutuallyExclusive("remove", "new-pin-fd")
	return c
}

// changePIN changes the PIN of a key. What was not given is asked for.
func (a *app) changePIN(ctx context.Context, ref key.Ref, change key.PINChange, remove bool) error {
	client, done, err := a.keys(ctx)
	if err != nil {
		return err
	}
	defer done()
	in, err := client.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	asksOld, asksNew := in.Policy.PIN && change.Old == nil, !remove && change.New == nil
	if a.noPrompt && (asksOld || asksNew) {
		return hint.Wrap(fmt.Errorf("no PIN was given: %w", key.ErrDenied), "give PINs with --pin-fd N and --new-pin-fd N")
	}
	// Without an agent the server in this process asks, which knows more.
	if terminal := a.terminal(); terminal != nil && !a.alone {
		if err := lockedOut(ctx, client, in); err != nil {
			return err
		}
		if asksOld {
			change.Old = askPIN(terminal, fmt.Sprintf("Enter the PIN that the key %s has now, to change or remove it.", in.Ref))
		}
		if asksNew {
			change.New = newPIN(terminal, fmt.Sprintf("Choose the new PIN of the key %s.", in.Ref))
		}
	}
	now, err := sendChange(ctx, client, in, change, remove)
	if a.terminal() == nil && (asksOld || asksNew) {
		err = adviseFD(err, "in a script, give PINs with --pin-fd N and --new-pin-fd N")
	}
	if err != nil {
		return err
	}
	a.noteChange(in, now)
	return nil
}

// lockedOut finds a device that would refuse the PINs which a person is about to
// choose.
func lockedOut(ctx context.Context, client *agent.Client, in key.Info) error {
	if in.Policy.Uncounted {
		return nil
	}
	device, err := client.Device(ctx)
	if err != nil {
		return err
	}
	var s tpm.Status
	if err := json.Unmarshal(device.Status, &s); err != nil {
		return fmt.Errorf("status of the agent's device %s: %w", device.Device, err)
	}
	if s.Lockout.Locked {
		return s.Lockout.Refusal()
	}
	return nil
}

// sendChange refuses what is refused anyhow before anybody is asked.
func sendChange(ctx context.Context, client *agent.Client, in key.Info, change key.PINChange, remove bool) (key.Info, error) {
	if change.New == nil && !remove {
		return client.ChangePINWithPrompt(ctx, in, change)
	}
	if err := change.Validate(in); err != nil {
		return key.Info{}, err
	}
	return client.ChangePIN(ctx, in, change)
}

// noteChange says what was done, and what the new PIN does not do.
func (a *app) noteChange(before, now key.Info) {
	switch {
	case !now.Policy.PIN:
		a.say("removed the PIN of %s", now.Ref)
	case before.Policy.PIN:
		a.say("changed the PIN of %s", now.Ref)
	default:
		a.say("set the PIN of %s", now.Ref)
	}
	kept := "no PIN"
	if before.Policy.PIN {
		kept = "the old PIN"
	}
	a.notice("copies of the key file that were made before keep " + kept + "; only a new key gets rid of them")
	switch {
	case now.Policy.PIN && now.Policy.Uncounted:
		a.notice("the TPM does not count wrong PINs of this key: who has the TPM and the key file can try them all")
	case !now.Policy.PIN && !now.Policy.Uncounted:
		a.notice("the key needs no PIN now, but is refused, as before, while the TPM is locked out")
	}
}

// askPIN asks once for a PIN.
func askPIN(p prompt.Prompter, title string) key.LendFunc {
	return func(ctx context.Context, use func([]byte) error) error {
		pin, err := p.PIN(ctx, prompt.Prompt{Title: title})
		if err != nil {
			return fmt.Errorf("%w: %w", key.ErrDenied, err)
		}
		defer pin.Wipe()
		return pin.Use(use)
	}
}
