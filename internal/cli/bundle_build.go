package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// bundleBuildFlags are the flags of `bundle build`.
type bundleBuildFlags struct {
	catalogs     []string
	kind, format string
	date, commit string
	store        string
	offline      bool
	allowSHA1Pin bool
	historic     bool
	output       string
}

func (a *app) bundleBuild() *cobra.Command {
	var f bundleBuildFlags
	c := &cobra.Command{
		Use:   "build --output PATH [--date YYYY-MM-DD]",
		Short: "build the TPM CA bundles from the catalog",
		Long: `Build takes every certificate of the catalog from the store or fetches it over
HTTPS, compares all of its pinned fingerprints and writes PEM bundles: the same
bytes each time.

Without --kind, --output is a folder, which gets both bundles, index.json, which tells
programs what is in them, and SHA256SUMS:

  sealsmith bundle build --date 2026-11-20 --output release

With --kind, --output is one PEM file, or - for the standard output.

The date is an input. In a git checkout of your own catalogs at a tag YYYY-MM-DD, both it
and the commit are git's, if the files are as they were committed:

  sealsmith bundle build --catalog roots.yaml --catalog intermediates.yaml --output release

A certificate whose bytes are in the store needs no network, and what is fetched
and verified is kept in the user's own store ($XDG_DATA_HOME/sealsmith/certs),
unless --store is given: a folder that you name is only read. Any certificate that cannot be had
fails the build, with a line for each, and nothing is written.

Entries of the catalog with the status historic, which their vendors gave up, are left
out; --include-historic makes bundles that also judge evidence from their time.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runBundleBuild(cmd.Context(), f) },
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.catalogs, "catalog", nil, "catalog `FILE` in place of the built-in one; with two kinds, one for each: roots first")
	flags.StringVar(&f.kind, "kind", "", "build one bundle: roots or intermediates")
	flags.StringVar(&f.format, "format", string(bundle.Sealsmith), "sealsmith, or tpmtb for the bytes of tpm-ca-certificates")
	flags.StringVar(&f.date, "date", "", "date of the bundle, `YYYY-MM-DD` (default the day of $SOURCE_DATE_EPOCH, else the tag of the commit of --catalog)")
	flags.StringVar(&f.commit, "commit", "", "commit of the catalog, 40 `HEX` digits; tpmtb needs it (default, if the date is its tag or tpmtb asks, the commit of --catalog)")
	flags.StringVar(&f.store, "store", "", "take certificates from the files SHA256.crt in `DIR` first")
	flags.BoolVar(&f.offline, "offline", false, "take certificates from the store alone")
	flags.BoolVar(&f.allowSHA1Pin, "allow-sha1-pin", false, "accept catalog entries that pin nothing stronger than SHA-1")
	flags.BoolVar(&f.historic, "include-historic", false, "take entries with the status historic, too")
	flags.StringVar(&f.output, "output", "", "folder, or with --kind a `FILE` or -")
	cobra.CheckErr(c.MarkFlagRequired("output"))
	return c
}

func (a *app) runBundleBuild(ctx context.Context, f bundleBuildFlags) error {
	options, err := f.options(ctx)
	if err != nil {
		return err
	}
	store, save, err := f.openStore()
	if err != nil {
		return err
	}
	if store != nil {
		defer store.Close()
	}
	options.Fetcher = &bundle.Fetcher{Store: store, Save: save, Offline: f.offline}
	show, stop := a.progress("certificates")
	if show != nil {
		options.Fetcher.Progress = func(done, total int) { show(int64(done), int64(total)) }
	}
	var out *bundle.Output
	if f.kind == "" {
		out, err = bundle.Release(ctx, options)
	} else {
		out, err = bundle.Single(ctx, bundle.Kind(f.kind), options)
	}
	stop()
	if err != nil {
		return err
	}
	for _, finding := range out.Findings {
		if finding.Severity != bundle.Info {
			a.say("sealsmith: %s", finding)
		}
	}
	if out.LeftOut > 0 {
		a.say("sealsmith: left out %s with the status historic; --include-historic takes them", plural(out.LeftOut, "certificate"))
	}
	return a.writeBundles(f, out)
}

// options checks the flags and reads the catalogs.
func (f *bundleBuildFlags) options(ctx context.Context) (o bundle.Options, err error) {
	if o.Format, err = bundle.ParseFormat(f.format); err != nil {
		return o, usageError(err)
	}
	if f.kind == "" && f.output == "-" {
		return o, hint.Wrap(usageError(errors.New("two bundles do not go to one stream")), "choose one with --kind")
	}
	o.Date, o.Commit, o.AllowSHA1Pin, o.IncludeHistoric = f.date, f.commit, f.allowSHA1Pin, f.historic
	kinds := bundle.Kinds()
	if f.kind != "" {
		kind, err := bundle.ParseKind(f.kind)
		if err != nil {
			return o, usageError(err)
		}
		kinds = []bundle.Kind{kind}
	}
	catalogs, err := f.readCatalogs(kinds)
	if err != nil {
		return o, err
	}
	if err := f.dateAndCommit(ctx, &o, catalogs); err != nil || len(catalogs) == 0 {
		return o, err
	}
	o.Catalogs = map[bundle.Kind]*bundle.Catalog{}
	for i, kind := range kinds {
		if o.Catalogs[kind], err = bundle.ParseCatalog(catalogs[i]); err != nil {
			return o, fmt.Errorf("%s: %w", f.catalogs[i], err)
		}
	}
	return o, nil
}

// readCatalogs reads the file of each kind, or none for the built-in ones.
func (f *bundleBuildFlags) readCatalogs(kinds []bundle.Kind) ([][]byte, error) {
	if len(f.catalogs) > 0 && len(f.catalogs) != len(kinds) {
		return nil, hint.Wrap(usageError(fmt.Errorf("%d catalogs for %d bundles", len(f.catalogs), len(kinds))),
			"give --catalog once for each bundle, the roots first, or choose one with --kind")
	}
	var all [][]byte
	for _, path := range f.catalogs {
		data, err := readFile(path, limits.BundleCatalog)
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// openStore opens the store that was named, or the user's own, which also keeps
// what is fetched. Offline without any store is a build that cannot succeed, and
// says so certificate by certificate.
func (f *bundleBuildFlags) openStore() (store *bundle.Store, save bool, err error) {
	if f.store != "" {
		store, err = bundle.OpenStore(f.store)
		return store, false, err
	}
	own := xdg.Certs()
	if f.offline {
		store, err = bundle.OpenStore(own)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, false, hint.Wrap(errors.New("there is no certificate store yet"), "name one with --store DIR, or build once without --offline")
		}
		return store, false, err
	}
	if err := os.MkdirAll(own, 0o700); err != nil {
		return nil, false, err
	}
	store, err = bundle.OpenStore(own)
	return store, true, err
}

// writeBundles writes the output where the flags say, and prints what it wrote.
func (a *app) writeBundles(f bundleBuildFlags, out *bundle.Output) error {
	switch {
	case f.kind != "" && f.output == "-":
		_, err := a.Out.Write(out.Files[0].Data)
		return err
	case f.kind != "":
		if err := writeOutput(f.output, out.Files[0].Data); err != nil {
			return err
		}
		fmt.Fprintln(a.Out, f.output)
		return nil
	}
	if err := os.MkdirAll(f.output, 0o755); err != nil {
		return err
	}
	if err := nothingElse(f.output, out); err != nil {
		return err
	}
	if err := out.Write(f.output); err != nil {
		return err
	}
	for _, file := range out.Files {
		fmt.Fprintln(a.Out, filepath.Join(f.output, file.Name))
	}
	return nil
}

// nothingElse refuses a folder with other files in it: signatures over other
// bundles, which would then look like tampering, or somebody's own work. The
// signatures may stay if the bundles stay the same.
func nothingElse(dir string, out *bundle.Output) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	same := true
	for _, file := range out.Files {
		old, err := readFile(filepath.Join(dir, file.Name), int64(len(file.Data)))
		same = same && err == nil && bytes.Equal(old, file.Data)
	}
	for _, entry := range entries {
		isOutput := slices.ContainsFunc(out.Files, func(file bundle.File) bool { return file.Name == entry.Name() })
		if isOutput || same && releaseLimit(entry.Name()) > 0 {
			continue
		}
		return hint.Wrap(fmt.Errorf("%s holds %.200q, which is not of these bundles", dir, entry.Name()),
			"give --output a new folder, or remove what is not needed from this one")
	}
	return nil
}

// sourceDate is the time in SOURCE_DATE_EPOCH, or nil if it is not set
// (https://reproducible-builds.org/specs/source-date-epoch/).
func sourceDate() (*time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return nil, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return nil, usageError(fmt.Errorf("SOURCE_DATE_EPOCH is %.40q, not a number of seconds", text))
	}
	epoch := time.Unix(seconds, 0).UTC()
	return &epoch, nil
}
