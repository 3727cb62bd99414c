package cli

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

func (a *app) bundleFetch() *cobra.Command {
	var catalogs []string
	var dir string
	var refresh bool
	c := &cobra.Command{
		Use:   "fetch",
		Short: "fill the store of vendors' certificates",
		Long: `Fetch gets the certificates of the catalog that the store does not have yet, from the
vendors' sites over HTTPS. What bundles were built from once is in the store: they can
be built again when a vendor has removed or replaced its files.

  sealsmith bundle fetch
  sealsmith bundle fetch --store certs --catalog roots.yaml --catalog intermediates.yaml

A file of the store is named after its SHA-256; only bytes that have all fingerprints
of the catalog get into it.

With --refresh every URL is asked anew, and those that serve other bytes or nothing are
listed. A vendor that re-issues a certificate in place is seen so. The pinned certificate
stays in the store, and the new one is kept below it in ` + "`unpinned`" + `, from where nothing
is built: compare them, then pin the new one in the catalog if it is right.

Exit status 0 if the store has all certificates of the catalog, 1 if it has not.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runBundleFetch(cmd.Context(), catalogs, dir, refresh)
		},
	}
	flags := c.Flags()
	flags.StringArrayVar(&catalogs, "catalog", nil, "catalog `FILE` in place of the built-in ones; may be repeated")
	flags.StringVar(&dir, "store", "", "fill the store in `DIR` (default $XDG_DATA_HOME/sealsmith/certs)")
	flags.BoolVar(&refresh, "refresh", false, "ask every URL, whatever the store has")
	return c
}

func (a *app) runBundleFetch(ctx context.Context, catalogs []string, dir string, refresh bool) error {
	entries, err := readEntries(catalogs)
	if err != nil {
		return err
	}
	perm := os.FileMode(0o755)
	if dir == "" {
		dir, perm = xdg.Certs(), 0o700
	}
	if err := os.MkdirAll(dir, perm); err != nil {
		return err
	}
	store, err := bundle.OpenStore(dir)
	if err != nil {
		return err
	}
	defer store.Close()
	sources, err := a.survey(ctx, &bundle.Fetcher{Store: store, Save: true}, entries, refresh)
	if err != nil {
		return err
	}
	missing := bundle.Missing(sources)
	if a.json {
		err = a.printJSON(struct {
			Store        string       `json:"store"`
			Complete     bool         `json:"complete"`
			Certificates []sourceJSON `json:"certificates"`
		}{printable(dir), missing == nil, newSourcesJSON(sources, store)})
	} else {
		err = a.printSources(sources, store)
	}
	if err != nil {
		return err
	}
	return missing
}

// readEntries reads catalogs, the built-in ones if none is named, which must not
// overlap.
func readEntries(paths []string) ([]bundle.Entry, error) {
	var catalogs []*bundle.Catalog
	for _, path := range paths {
		data, err := readFile(path, limits.BundleCatalog)
		if err != nil {
			return nil, err
		}
		c, err := bundle.ParseCatalog(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for i, other := range catalogs {
			if err := bundle.Disjoint(other, c); err != nil {
				return nil, fmt.Errorf("%s and %s: %w", paths[i], path, err)
			}
		}
		catalogs = append(catalogs, c)
	}
	if len(paths) == 0 {
		for _, kind := range bundle.Kinds() {
			c, err := bundle.OwnCatalog(kind)
			if err != nil {
				return nil, err
			}
			catalogs = append(catalogs, c)
		}
	}
	var entries []bundle.Entry
	for _, c := range catalogs {
		entries = append(entries, c.Entries...)
	}
	return entries, nil
}

// survey looks for the certificates and shows how far it is.
func (a *app) survey(ctx context.Context, f *bundle.Fetcher, entries []bundle.Entry, refresh bool) ([]bundle.Source, error) {
	show, stop := a.progress("certificates")
	defer stop()
	if show != nil {
		f.Progress = func(done, total int) { show(int64(done), int64(total)) }
	}
	if refresh {
		return f.Refresh(ctx, entries)
	}
	return f.Fill(ctx, entries)
}

// printSources prints what each host gave, what was kept, and what is wrong with URLs
// whose certificate is in the store all the same; what is missing is the error.
func (a *app) printSources(sources []bundle.Source, store *bundle.Store) error {
	var hosts []string
	counts := map[string]map[bundle.SourceState]int{}
	count := func(host string, state bundle.SourceState) {
		if counts[host] == nil {
			counts[host] = map[bundle.SourceState]int{}
			hosts = append(hosts, host)
		}
		counts[host][state]++
	}
	for _, s := range sources {
		count(urlHost(s.Entry.URL), s.State)
	}
	for _, s := range sources {
		count("all", s.State)
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tSTORED\tSERVED\tCHANGED\tFAILED")
	for _, host := range hosts {
		n := counts[host]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", host, n[bundle.SourceStored], n[bundle.SourceServed], n[bundle.SourceChanged], n[bundle.SourceFailed])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var changed, failed []bundle.Source
	for _, s := range sources {
		switch {
		case s.Pinned == nil && (s.Other == nil || store.Unpinned(s.Other) == ""): // in the error
		case s.State == bundle.SourceChanged:
			changed = append(changed, s)
		case s.State == bundle.SourceFailed:
			failed = append(failed, s)
		}
	}
	a.printFaults(changed, store)
	a.printFaults(failed, store)
	return nil
}

// printFaults prints a line for each URL with which something is wrong, or one for all
// where there is no network. The store may be nil.
func (a *app) printFaults(sources []bundle.Source, store *bundle.Store) {
	all := &bundle.FetchError{Total: len(sources)}
	for _, s := range sources {
		all.Failures = append(all.Failures, &bundle.Failure{Entry: s.Entry, Err: s.Err})
	}
	if cause, ok := all.NoNetwork(); ok {
		fmt.Fprintf(a.Out, "%s: no site can be found: %s\n", bundle.SourceFailed, printable(cause.Error()))
		return
	}
	for i, s := range sources {
		fmt.Fprintf(a.Out, "%s: %s\n", s.State, printable(all.Failures[i].Error()))
		if s.Other == nil || store == nil {
			continue
		}
		if path := store.Unpinned(s.Other); path != "" {
			fmt.Fprintf(a.Out, "  kept in %s\n", printable(path))
		}
	}
}

// urlHost is the host of a URL that the catalog's parser has checked.
func urlHost(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Host
}

// sourceJSON is the --json form of what became of the search for a certificate.
type sourceJSON struct {
	Vendor string             `json:"vendor"`
	Name   string             `json:"name"`
	URL    string             `json:"url"`
	State  bundle.SourceState `json:"state"`
	Found  bool               `json:"found"` // the pinned certificate, in the store or at the URL
	Reason string             `json:"reason,omitempty"`
	Other  *otherJSON         `json:"other,omitempty"`
}

// otherJSON is a certificate that a URL serves in place of the pinned one.
type otherJSON struct {
	SHA256    string    `json:"sha256"`
	Subject   string    `json:"subject"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	File      string    `json:"file,omitempty"` // where it is kept
}

// newSourcesJSON makes the list; store may be nil.
func newSourcesJSON(sources []bundle.Source, store *bundle.Store) []sourceJSON {
	all := make([]sourceJSON, len(sources))
	for i, s := range sources {
		all[i] = sourceJSON{Vendor: s.Entry.Vendor, Name: s.Entry.Name, URL: s.Entry.URL, State: s.State, Found: s.Pinned != nil}
		if s.Err != nil {
			all[i].Reason = printable(s.Err.Error())
		}
		if s.Other == nil {
			continue
		}
		about, err := bundle.Summarise(s.Other)
		if err != nil {
			continue // the reason says that something else came
		}
		all[i].Other = &otherJSON{SHA256: about.SHA256, Subject: printable(about.Subject), NotBefore: about.NotBefore, NotAfter: about.NotAfter}
		if store != nil {
			all[i].Other.File = printable(store.Unpinned(s.Other))
		}
	}
	return all
}
