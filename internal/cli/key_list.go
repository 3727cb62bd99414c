package cli

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

func (a *app) keyList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the keys",
		Long: `List prints the keys in the key folder. It uses neither the agent nor the device.

The ID is the SHA-256 of the public key; id: and eight or more of its digits name
the key wherever a key is wanted.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			infos, failed := readKeys()
			if len(infos) == 0 && failed != nil {
				return failed
			}
			return errors.Join(failed, a.printKeys(infos))
		},
	}
}

// readKeys reads the key folder; what cannot be read is in the error, the rest
// is listed.
func readKeys() ([]key.Info, error) {
	var infos []key.Info
	var failed []error
	for in, err := range tpm.ReadDir(xdg.Keys()) {
		if err != nil {
			failed = append(failed, err)
			continue
		}
		infos = append(infos, in)
	}
	return infos, errors.Join(failed...)
}

// keyInfo finds one key in the key folder.
func keyInfo(text string) (key.Info, error) {
	ref, err := key.ParseRef(text)
	if err != nil {
		return key.Info{}, err
	}
	infos, failed := readKeys()
	return key.Find(infos, failed, ref)
}

func (a *app) printKeys(infos []key.Info) error {
	if a.json {
		list := make([]keyJSON, len(infos))
		for i, in := range infos {
			var err error
			if list[i], err = newKeyJSON(in); err != nil {
				return err
			}
		}
		return a.printJSON(list)
	}
	if len(infos) == 0 {
		a.say("no keys yet; make one with: sealsmith key create NAME --usage ssh")
		return nil
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tUSAGE\tALGORITHM\tPIN\tID")
	for _, in := range infos {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\tid:%s\n", in.Ref.Name, usageText(in), in.Algorithm, yesNo(in.Policy.PIN), in.ID.Short())
	}
	return w.Flush()
}

// keyJSON is the --json form of a key.
type keyJSON struct {
	Name        string        `json:"name"`
	Backend     string        `json:"backend"`
	ID          key.ID        `json:"id"`
	Fingerprint string        `json:"fingerprint"`
	Usage       key.Usage     `json:"usage"`
	Algorithm   key.Algorithm `json:"algorithm"`
	PIN         bool          `json:"pin"`
	Uncounted   bool          `json:"uncounted"` // the device does not count wrong PINs
	Unattended  bool          `json:"unattended"`
	Imported    bool          `json:"imported"`         // copies may exist outside the device
	Parent      string        `json:"parent,omitempty"` // Name of the storage key that it is bound to
	Comment     string        `json:"comment"`
	Created     string        `json:"created,omitempty"` // RFC 3339
	PublicKey   string        `json:"public_key"`        // OpenSSH
}

func newKeyJSON(in key.Info) (keyJSON, error) {
	blob, err := sshwire.Blob(in.Public)
	if err != nil {
		return keyJSON{}, err
	}
	line, err := publicKeyLine(in)
	if err != nil {
		return keyJSON{}, err
	}
	return keyJSON{
		Name: in.Ref.Name, Backend: in.Ref.Backend, ID: in.ID, Fingerprint: sshwire.Fingerprint(blob),
		Usage: in.Usage, Algorithm: in.Algorithm, PIN: in.Policy.PIN, Uncounted: in.Policy.Uncounted,
		Unattended: in.Policy.Unattended, Imported: in.Imported, Parent: in.Parent,
		Comment: in.Comment, Created: timeText(in), PublicKey: line,
	}, nil
}

// usageText is the usage, and what a person must not miss about the key.
func usageText(in key.Info) string {
	var remarks []string
	if in.Policy.Unattended {
		remarks = append(remarks, "unattended")
	}
	if in.Imported {
		remarks = append(remarks, "imported")
	}
	if len(remarks) == 0 {
		return string(in.Usage)
	}
	return fmt.Sprintf("%s (%s)", in.Usage, strings.Join(remarks, ", "))
}

// pinText says whether a key has a PIN, and what is unusual about that: one that can
// be guessed, or a key that is refused during a lockout though it has none.
func pinText(p key.Policy) string {
	switch {
	case p.PIN && p.Uncounted:
		return "yes, wrong ones are not counted"
	case !p.PIN && !p.Uncounted:
		return "no, but refused during a lockout"
	}
	return yesNo(p.PIN)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
