package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/verify"
)

// completeKeys offers the names of the keys to the shell.
func completeKeys(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	infos, _ := readKeys() // a broken file must not end the completion
	var names []string
	for _, in := range infos {
		names = append(names, in.Ref.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFirstFile offers files for the only argument, which may be left out.
func completeFirstFile(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeSecondFile offers files for the second argument; the first is a new name.
func completeSecondFile(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// complete teaches the shell the values of a command's flags, and that commands
// without arguments take no files.
func complete(c *cobra.Command) {
	values := map[string][]string{
		"usage":   texts(key.Usages),
		"alg":     texts(key.Algorithms),
		"kind":    texts(bundle.Kinds()),
		"require": texts(verify.Formats),
		"format":  {string(bundle.Sealsmith), string(bundle.TPMTB)},
	}
	if c.Name() == "pubkey" {
		values["format"] = []string{"openssh", "pem"}
	}
	if c.Name() == "export" {
		values["format"] = exportFormats()
	}
	for name, list := range values {
		if c.Flags().Lookup(name) != nil {
			cobra.CheckErr(c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)))
		}
	}
	if c.Name() == "sign" || c.Name() == "enrol" { // elsewhere --key is a file
		cobra.CheckErr(c.RegisterFlagCompletionFunc("key", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return completeKeys(cmd, nil, typed)
		}))
	}
	takesFiles := slices.ContainsFunc([]string{"DIR", "FILE", "BUNDLE", "OLD"}, func(word string) bool { return strings.Contains(c.Use, " "+word) })
	if c.ValidArgsFunction == nil && !takesFiles {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, sub := range c.Commands() {
		complete(sub)
	}
}

func texts[T ~string](list []T) []string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = string(v)
	}
	return all
}
