package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// caBundle is the flag that says whose EK certificates count.
type caBundle struct {
	files []string
}

func (f *caBundle) register(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.files, "ca-bundle", nil,
		"trust the TPM CAs in `FILE[,FILE]`: roots and intermediates, CA bundles or other PEM; never files that came with the evidence")
}

// anchors reads the files.
func (f *caBundle) anchors() (*bundle.Anchors, error) {
	if len(f.files) == 0 {
		return nil, hint.Wrap(usageError(errors.New("nothing says whose EK certificates count")),
			"give --ca-bundle FILE[,FILE]; sealsmith bundle build makes such files from the vendors' certificates, sealsmith bundle verify checks those of a release")
	}
	files := make([][]byte, len(f.files))
	for i, path := range f.files {
		var err error
		if files[i], err = readFile(path, limits.BundleFile); err != nil {
			return nil, hint.Wrap(err, "name the PEM files themselves, not their folder: --ca-bundle roots.pem,intermediates.pem")
		}
	}
	anchors, err := bundle.ParseAnchors(files...)
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("--ca-bundle: %w", err),
			"give certificates of TPM CAs in PEM, roots among them: --ca-bundle roots.pem,intermediates.pem")
	}
	return anchors, nil
}
