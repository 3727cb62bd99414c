package cli

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

func (a *app) keyShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show KEY",
		Short:             "show one key",
		Long:              "Show prints what the key folder says of one key. It uses neither the agent nor the\ndevice. KEY is a name or id:HEX.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKeys,
		RunE: func(_ *cobra.Command, args []string) error {
			in, err := keyInfo(args[0])
			if err != nil {
				return err
			}
			shown, err := newKeyJSON(in)
			if err != nil {
				return err
			}
			devices, pinErr := tpm.DevicesOf(xdg.Data(), in.Parent)
			if a.json {
				return errors.Join(pinErr, a.printJSON(struct {
					keyJSON
					Devices []string `json:"devices,omitempty"` // where the storage key was seen
				}{shown, devices}))
			}
			w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
			for _, row := range [][2]string{
				{"name", in.Ref.String()},
				{"usage", usageText(in)},
				{"algorithm", string(in.Algorithm)},
				{"PIN", pinText(in.Policy)},
				{"made in the device", yesNo(!in.Imported)},
				{"bound to", boundTo(in.Parent, devices)},
				{createdLabel(in), orUnknown(shown.Created)},
				{"comment", in.Comment},
				{"id", string(in.ID)},
				{"fingerprint", shown.Fingerprint},
			} {
				fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
			}
			return errors.Join(pinErr, w.Flush())
		},
	}
}

// timeText is when the key was made, or empty for a key by another program.
func timeText(in key.Info) string {
	if in.Created.IsZero() {
		return ""
	}
	return in.Created.UTC().Format(time.RFC3339)
}

// boundTo says which key a key cannot be used without, and where that was seen.
func boundTo(parent string, devices []string) string {
	switch {
	case parent == "":
		return "not known"
	case len(devices) == 0:
		return fmt.Sprintf("storage key %s, which is pinned for no device here", parent)
	}
	return fmt.Sprintf("storage key %s of %s", parent, strings.Join(devices, " and "))
}

// createdLabel says what happened at the time of [key.Info]'s Created.
func createdLabel(in key.Info) string {
	if in.Imported {
		return "imported"
	}
	return "created"
}

func orUnknown(s string) string {
	if s == "" {
		return "not known (its .json file is lost, or another program made it)"
	}
	return s
}
