package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
)

// catalogRemoveFlags are the flags of `bundle catalog remove`.
type catalogRemoveFlags struct {
	catalog, vendor, name, fingerprint string
}

func (a *app) catalogRemove() *cobra.Command {
	var f catalogRemoveFlags
	c := &cobra.Command{
		Use:   "remove --catalog FILE (--vendor ID --name NAME | --fingerprint HASH:HEX)",
		Short: "remove a certificate from a catalog",
		Long: `Remove takes one entry out of a catalog and leaves the catalog in its normal form. Its
comments go with it, and are printed. A certificate that a vendor gave up is better
kept with the status "historic": evidence from its time can then still be judged.

  sealsmith bundle catalog remove --catalog roots.yaml --vendor STM --name 'STM TPM EK Root CA'
  sealsmith bundle catalog remove --catalog roots.yaml --fingerprint sha256:F8E37A86…`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.removeFromCatalog(f) },
	}
	flags := c.Flags()
	flags.StringVar(&f.catalog, "catalog", "", "the catalog `FILE` to change")
	flags.StringVar(&f.vendor, "vendor", "", "TCG `ID` of the vendor")
	flags.StringVar(&f.name, "name", "", "`NAME` of the certificate in the catalog")
	flags.StringVar(&f.fingerprint, "fingerprint", "", "a fingerprint that the entry pins, as `HASH:HEX`")
	cobra.CheckErr(c.MarkFlagRequired("catalog"))
	c.MarkFlagsRequiredTogether("vendor", "name")
	c.MarkFlagsOneRequired("vendor", "fingerprint")
	c.MarkFlagsMutuallyExclusive("vendor", "fingerprint")
	return c
}

func (a *app) removeFromCatalog(f catalogRemoveFlags) error {
	data, c, err := readCatalog(f.catalog)
	if err != nil {
		return err
	}
	if f.fingerprint != "" {
		pin, err := bundle.ParseFingerprint(f.fingerprint)
		if err != nil {
			return usageError(err)
		}
		found := c.Find(pin)
		if len(found) == 0 {
			return hint.Wrap(errors.New("no entry of the catalog pins that fingerprint"), "sealsmith bundle catalog list --json shows what they pin")
		}
		f.vendor, f.name = found[0].Vendor, found[0].Name
	}
	out, comments, err := bundle.DeleteEntry(data, f.vendor, f.name)
	if err != nil {
		return fmt.Errorf("%s: %w", f.catalog, err)
	}
	if err := writeOutput(f.catalog, out); err != nil {
		return err
	}
	a.say("removed %s %q from %s", f.vendor, f.name, f.catalog)
	for _, c := range comments {
		a.say("and its comment: %s", c)
	}
	return nil
}
