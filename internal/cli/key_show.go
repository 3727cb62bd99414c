package cli

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/key"
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
			if a.json {
				return a.printJSON(shown)
			}
			w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
			for _, row := range [][2]string{
				{"name", in.Ref.String()},
				{"usage", usageText(in)},
				{"algorithm", string(in.Algorithm)},
				{"PIN", pinText(in.Policy)},
				{"made in the device", yesNo(!in.Imported)},
				{"bound to", orNot(in.Parent)},
				{"created", orUnknown(shown.Created)},
				{"comment", in.Comment},
				{"id", string(in.ID)},
				{"fingerprint", shown.Fingerprint},
			} {
				fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
			}
			return w.Flush()
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

func orNot(s string) string {
	if s == "" {
		return "not known"
	}
	return "storage key " + s
}

func orUnknown(s string) string {
	if s == "" {
		return "not known (made by another program)"
	}
	return s
}
