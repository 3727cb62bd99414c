package cli

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
)

func (a *app) catalogList() *cobra.Command {
	var vendor string
	c := &cobra.Command{
		Use:   "list [FILE...]",
		Short: "list the certificates of catalogs",
		Long: `List prints the entries of catalogs: vendor, name, whether the vendor still stands by
the certificate, by which digests it is pinned, the rules from which an exception is
declared, and where it is published. Without a file it lists the built-in catalogs.

  sealsmith bundle catalog list --vendor STM
  sealsmith bundle catalog list --json roots.yaml`,
		RunE: func(_ *cobra.Command, args []string) error {
			if _, known := bundle.VendorName(vendor); vendor != "" && !known {
				return hint.Wrap(usageError(fmt.Errorf("vendor id %.80q is not in the TCG registry", vendor)), "an id is as in INTC, IFX, NTC, STM, AMD")
			}
			files, err := a.readCatalogFiles(args)
			if err != nil {
				return err
			}
			return a.listCatalogs(files, vendor)
		},
	}
	c.Flags().StringVar(&vendor, "vendor", "", "list the certificates of the vendor with this TCG `ID` only")
	return c
}

// entryJSON is the --json form of an entry.
type entryJSON struct {
	Catalog      string            `json:"catalog"`
	Vendor       string            `json:"vendor"`
	Name         string            `json:"name"`
	Description  string            `json:"description,omitempty"`
	URL          string            `json:"url"`
	Status       bundle.Status     `json:"status"`
	Evidence     []string          `json:"evidence,omitempty"`
	Exceptions   []string          `json:"exceptions,omitempty"`
	Notes        string            `json:"notes,omitempty"`
	Fingerprints map[string]string `json:"fingerprints"` // by sha1, sha256, sha384, sha512
	Line         int               `json:"line"`
}

func newEntryJSON(catalog string, e bundle.Entry) entryJSON {
	pins := map[string]string{}
	for _, f := range e.Fingerprints {
		pins[hashKey(f)] = f.String()
	}
	return entryJSON{
		Catalog: catalog, Vendor: e.Vendor, Name: e.Name, Description: e.Description, URL: e.URL,
		Status: e.Status, Evidence: e.Evidence, Exceptions: e.Exceptions, Notes: e.Notes, Fingerprints: pins, Line: e.Line,
	}
}

// hashKey is the name of a fingerprint's hash as in the catalog: sha256.
func hashKey(f bundle.Fingerprint) string {
	return strings.ToLower(strings.ReplaceAll(f.Hash.String(), "-", ""))
}

func (a *app) listCatalogs(files []bundle.CatalogFile, vendor string) error {
	list := []entryJSON{}
	for _, file := range files {
		c, err := bundle.ParseCatalog(file.Data)
		if err != nil {
			return fmt.Errorf("%s: %w", file.Name, err)
		}
		for _, e := range c.Entries {
			if vendor == "" || e.Vendor == vendor {
				list = append(list, newEntryJSON(file.Name, e))
			}
		}
	}
	if a.json {
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VENDOR\tNAME\tSTATUS\tPINNED BY\tEXCEPTIONS\tURL")
	for _, e := range list {
		var pins []string
		for _, h := range []string{"sha1", "sha256", "sha384", "sha512"} {
			if e.Fingerprints[h] != "" {
				pins = append(pins, h)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Vendor, e.Name, e.Status, strings.Join(pins, " "), cmp.Or(strings.Join(e.Exceptions, " "), "-"), e.URL)
	}
	return w.Flush()
}
