package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
)

// vendorFilter is the flag that chooses certificates by vendor; empty is all.
type vendorFilter []string

func (f *vendorFilter) register(c *cobra.Command, usage string) {
	c.Flags().StringSliceVar((*[]string)(f), "vendor", nil, usage)
}

// check allows ids in small letters, and no unknown ones.
func (f vendorFilter) check() error {
	for i, id := range f {
		f[i] = strings.ToUpper(id)
		if _, known := bundle.VendorName(f[i]); !known {
			return hint.Wrap(usageError(fmt.Errorf("vendor id %.80q is not in the TCG registry", id)), "give an id such as IFX")
		}
	}
	return nil
}

func (f vendorFilter) wants(vendor string) bool { return len(f) == 0 || slices.Contains(f, vendor) }
