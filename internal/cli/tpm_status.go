package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/tpm"
)

func (a *app) tpmStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "show what the TPM is, and what works with it",
		Long: `Status asks the TPM, through the agent if one runs, what it is, which keys it can make,
how much room it has, how many wrong PINs it counted, and what sealsmith can do with it.
It makes nothing in the TPM, and so does not find out whether it is the one that was
pinned: whatever uses a key does. Without the device the exit status is 5.

  sealsmith tpm status
  sealsmith tpm status --json | jq .lockout.tries_left`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, done, err := a.keys(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			device, err := client.Device(cmd.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(device.Status)
			}
			var s tpm.Status
			if err := json.Unmarshal(device.Status, &s); err != nil {
				return fmt.Errorf("status of the agent's device %s: %w", device.Device, err)
			}
			return printTPM(a.Out, s)
		},
	}
}

// section is a heading with rows of a name and a text.
type section struct {
	title string
	rows  [][2]string
}

func printTPM(out io.Writer, s tpm.Status) error {
	var text strings.Builder
	for i, part := range []section{
		{"TPM", [][2]string{
			{"device", deviceText(s)},
			{"manufacturer", s.Manufacturer},
			{"model", s.Model},
			{"firmware", s.Firmware},
			{"specification", s.Specification},
			{"pinned", pinnedText(s)},
		}},
		{"What works", [][2]string{
			{"keys", abilityText(s.Works.Keys)},
			{"PINs", abilityText(s.Works.PINs)},
			{"attestation", abilityText(s.Works.Attestation)},
		}},
		{"What it makes", [][2]string{
			{"keys", words(s.Algorithms)},
			{"signatures", words(s.Schemes)},
			{"hashes", words(s.Hashes)},
			{"curves", words(s.Curves)},
		}},
		{"Wrong PINs", lockoutRows(s.Lockout)},
		{"Passwords", [][2]string{
			{"owner", setOrNot(s.Passwords.Owner)},
			{"endorsement", setOrNot(s.Passwords.Endorsement)},
			{"lockout", setOrNot(s.Passwords.Lockout)},
		}},
		{"Endorsement keys", ekRows(s.EndorsementKeys)},
		{"Room", [][2]string{
			{"objects", fmt.Sprintf("%s, %d held by sealsmith", slotsText(s.Objects), s.LoadedKeys)},
			{"sessions", slotsText(s.Sessions)},
			{"kept objects", slotsText(s.Persistent)},
		}},
	} {
		if i > 0 {
			fmt.Fprintln(&text)
		}
		fmt.Fprintln(&text, part.title)
		for _, row := range part.rows {
			fmt.Fprintf(&text, "  %-14s  %s\n", row[0], printable(row[1]))
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func deviceText(s tpm.Status) string {
	if s.Software {
		return s.Device + " (a software TPM: it protects nothing)"
	}
	return s.Device
}

// pinnedText says why this TPM, and no other, is trusted to be the device.
func pinnedText(s tpm.Status) string {
	switch {
	case s.Pinned.EKCertificate != "":
		return "by the EK certificate " + s.Pinned.EKCertificate
	case s.Pinned.StorageName != "" && len(s.EndorsementKeys) > 0:
		return "at the first use; its maker can vouch for it: sealsmith tpm ek --pin"
	case s.Pinned.StorageName != "":
		return "at the first use"
	}
	return "not yet: it was not used"
}

func abilityText(a tpm.Ability) string {
	if a.Works {
		return "yes"
	}
	return "no: " + a.Why
}

func lockoutRows(l tpm.Lockout) [][2]string {
	tries := fmt.Sprintf("%d left of %d, for the keys of all programs together", l.TriesLeft, l.MaxTries)
	switch {
	case l.TriesLeft == 0:
		tries = fmt.Sprintf("none left of %d", l.MaxTries)
	case l.IntervalSeconds == 0:
		return [][2]string{{"tries", "as many as somebody likes: this TPM was told not to count them"}}
	}
	rows := [][2]string{{"tries", tries}}
	if l.TriesLeft == 0 && l.WaitSeconds > 0 {
		rows = append(rows, [2]string{"next try", "in at most " + seconds(l.WaitSeconds)})
	}
	forgotten, barred := "never", "until the TPM restarts"
	if l.IntervalSeconds > 0 {
		forgotten = "one every " + seconds(int(l.IntervalSeconds))
	}
	if l.RecoverySeconds > 0 {
		barred = "for " + seconds(int(l.RecoverySeconds))
	}
	return append(rows, [2]string{"forgotten", forgotten},
		[2]string{"reset", "with the lockout password; a wrong one bars it " + barred})
}

func ekRows(keys []tpm.EKIndex) [][2]string {
	if len(keys) == 0 {
		return [][2]string{{"certificates", "none"}}
	}
	var rows [][2]string
	for _, k := range keys {
		rows = append(rows, [2]string{string(k.Algorithm), fmt.Sprintf("certificate in NV index 0x%08x, template %s", k.Index, k.Template)})
	}
	return rows
}

func slotsText(s tpm.Slots) string { return fmt.Sprintf("%d of %d free", s.Free, s.Total) }

// seconds prints a time as 16m40s.
func seconds(n int) string { return (time.Duration(n) * time.Second).String() }

func setOrNot(b bool) string {
	if b {
		return "set"
	}
	return "not set"
}

func words[T ~string](list []T) string {
	if len(list) == 0 {
		return "none"
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}
