package cli

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
)

func (a *app) catalogFormat() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "format FILE...",
		Short: "write catalogs in their normal form",
		Long: `Format sorts the vendors of a catalog by id and their certificates by name, puts keys in
one order and text in double quotes, and indents as the community does. Comments stay
with what they belong to. The catalog means the same before and after, and that is
checked before it is written; a second time changes nothing.

  sealsmith bundle catalog format roots.yaml
  sealsmith bundle catalog format --check roots.yaml intermediates.yaml

It prints the names of the files that it changed. With - it reads a catalog from the
standard input and prints it. --check changes nothing, says what it would change, and
ends with exit status 3 if that is anything.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := a.readCatalogFiles(args)
			if err != nil {
				return err
			}
			return a.formatCatalogs(args, files, check)
		},
	}
	c.Flags().BoolVar(&check, "check", false, "change nothing; exit status 3 if something would change")
	return c
}

func (a *app) formatCatalogs(paths []string, files []bundle.CatalogFile, check bool) error {
	formatted := make([][]byte, len(files))
	for i, file := range files { // all, before one is written
		var err error
		if formatted[i], err = bundle.FormatCatalog(file.Data); err != nil {
			return fmt.Errorf("%s: %w", file.Name, err)
		}
	}
	odd := 0
	for i, file := range files {
		same := bytes.Equal(formatted[i], file.Data)
		switch {
		case check && !same:
			odd++
			a.printOddForm(file)
		case check:
		case paths[i] == "-":
			if _, err := a.Out.Write(formatted[i]); err != nil {
				return err
			}
		case !same:
			if err := writeOutput(paths[i], formatted[i]); err != nil {
				return err
			}
			fmt.Fprintln(a.Out, file.Name)
		}
	}
	if odd > 0 {
		return fmt.Errorf("%w: %d of %s not in normal form", errFaulty, odd, plural(len(files), "catalog"))
	}
	return nil
}

// printOddForm says what is not as the normal form has it.
func (a *app) printOddForm(file bundle.CatalogFile) {
	for _, f := range bundle.CheckCatalogs(file) {
		if f.Rule == "order" || f.Rule == "normal-form" {
			fmt.Fprintf(a.Out, "%s:%d: %s\n", f.File, f.Line, f.Text)
		}
	}
}
