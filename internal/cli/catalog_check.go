package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// catalogGroup is the noun `bundle catalog`.
func (a *app) catalogGroup() *cobra.Command {
	return a.group("catalog", "the lists of certificates that bundles are built from",
		a.catalogAdd(), a.catalogCheck(), a.catalogFormat(), a.catalogList(), a.catalogRemove())
}

// readCatalogFiles reads files, - for standard input, or the built-in catalogs if none
// is named.
func (a *app) readCatalogFiles(paths []string) ([]bundle.CatalogFile, error) {
	var files []bundle.CatalogFile
	stdin := 0
	for _, path := range paths {
		name := path
		if path == "-" {
			if stdin++; stdin > 1 {
				return nil, errStdinTwice
			}
			name = "standard input"
		}
		data, err := a.readInput(path, limits.BundleCatalog)
		if err != nil {
			return nil, err
		}
		files = append(files, bundle.CatalogFile{Name: printable(name), Data: data})
	}
	if len(paths) == 0 {
		for _, kind := range bundle.Kinds() {
			files = append(files, bundle.CatalogFile{Name: "built-in " + string(kind), Data: bundle.OwnCatalogFile(kind)})
		}
	}
	return files, nil
}

func (a *app) catalogCheck() *cobra.Command {
	var strict bool
	c := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "check catalogs: every mistake, with its line",
		Long: `Check reads catalogs strictly and tells of all mistakes in them: what is no YAML of
this kind, unknown keys, vendors that are not in the TCG registry, URLs that are not
https, fingerprints that are none, and what is there twice in one catalog or in several.
Certificates that only SHA-1 identifies are warnings, and so is a file that is not in
its normal form (see sealsmith bundle catalog format).

  sealsmith bundle catalog check roots.yaml intermediates.yaml

Without a file it checks the built-in catalogs. Errors are exit status 3. Whether the
URLs still serve the certificates is what sealsmith bundle watch tells.`,
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := a.readCatalogFiles(args)
			if err != nil {
				return err
			}
			return a.checkCatalogs(files, strict)
		},
	}
	c.Flags().BoolVar(&strict, "strict", false, "warnings are errors")
	return c
}

// catalogFindingJSON is the --json form of a finding.
type catalogFindingJSON struct {
	File     string          `json:"file"`
	Line     int             `json:"line"`
	Column   int             `json:"column,omitempty"` // left out if it is the whole line's
	Rule     string          `json:"rule"`
	Severity bundle.Severity `json:"severity"`
	Text     string          `json:"text"`
}

func (a *app) checkCatalogs(files []bundle.CatalogFile, strict bool) error {
	findings := bundle.CheckCatalogs(files...)
	list := make([]catalogFindingJSON, len(findings))
	counts := map[bundle.Severity]int{}
	for i, f := range findings {
		counts[f.Severity]++
		list[i] = catalogFindingJSON(f)
	}
	if a.json {
		names := make([]string, len(files))
		for i, f := range files {
			names[i] = f.Name
		}
		if err := a.printJSON(struct {
			Files    []string             `json:"files"`
			Errors   int                  `json:"errors"`
			Warnings int                  `json:"warnings"`
			Findings []catalogFindingJSON `json:"findings"`
		}{names, counts[bundle.Error], counts[bundle.Warning], list}); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			if f.Severity == bundle.Error || !a.quiet {
				fmt.Fprintln(a.Out, f)
			}
		}
	}
	text := plural(counts[bundle.Error], "error") + ", " + plural(counts[bundle.Warning], "warning")
	if counts[bundle.Error] > 0 || strict && counts[bundle.Warning] > 0 {
		return fmt.Errorf("%w: %s", errFaulty, text)
	}
	if !a.json && !a.quiet {
		fmt.Fprintf(a.Out, "checked %s: %s\n", plural(len(files), "catalog"), text)
	}
	return nil
}

// readCatalog reads the catalog that a command changes.
func readCatalog(path string) ([]byte, *bundle.Catalog, error) {
	if path == "-" {
		return nil, nil, usageError(errors.New("the catalog is changed in place, so it must be a file"))
	}
	data, err := readFile(path, limits.BundleCatalog)
	if err != nil {
		return nil, nil, err
	}
	c, err := bundle.ParseCatalog(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, c, nil
}
