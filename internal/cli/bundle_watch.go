package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// bundleWatchFlags are the flags of `bundle watch`.
type bundleWatchFlags struct {
	catalogs []string
	store    string
	within   days
}

func (a *app) bundleWatch() *cobra.Command {
	f := bundleWatchFlags{within: days(90 * oneDay)}
	c := &cobra.Command{
		Use:   "watch [BUNDLE...]",
		Short: "check once what may go wrong with time, for a timer",
		Long: `Watch looks for certificates that expired or soon will, and asks every URL of the
catalog whether it still serves the pinned bytes. It does so once and changes nothing:
run it from a timer, such as systemd's or cron.

  sealsmith bundle watch --within 90d
  sealsmith bundle watch --catalog roots.yaml --json

With bundles, or folders with both bundles of a release, it looks at their certificates
alone and needs no network:

  sealsmith bundle watch release

Entries of the catalog with the status historic are not looked at: their vendors gave
them up.

Exit status, of several the first: 3 if a URL serves other bytes than are pinned; 6 if a
certificate expired or will within the time; 1 if a URL could not be checked; 0 if there
is nothing to say.`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runBundleWatch(cmd.Context(), f, args) },
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.catalogs, "catalog", nil, "catalog `FILE` in place of the built-in ones; may be repeated")
	flags.StringVar(&f.store, "store", "", "tell re-issued certificates from others by those in `DIR` (default $XDG_DATA_HOME/sealsmith/certs)")
	flags.Var(&f.within, "within", "tell of certificates that expire within `DAYS`")
	return c
}

func (a *app) runBundleWatch(ctx context.Context, f bundleWatchFlags, bundles []string) error {
	w := watch{at: time.Now().UTC(), within: f.within}
	var err error
	if len(bundles) > 0 {
		if len(f.catalogs) > 0 || f.store != "" {
			return usageError(errors.New("bundles are looked at alone: --catalog and --store do not go with them"))
		}
		err = w.readBundles(a, bundles)
	} else {
		err = w.askSites(ctx, a, f)
	}
	if err != nil {
		return err
	}
	w.expiring = bundle.Expiring(w.certs, w.at, time.Duration(w.within))
	if a.json {
		err = a.printJSON(w.json())
	} else {
		err = w.print(a)
	}
	if err != nil {
		return err
	}
	return w.err()
}

const oneDay = 24 * time.Hour

// watch is what there is to say.
type watch struct {
	at       time.Time
	within   days
	certs    []bundle.Certificate
	expiring []bundle.Certificate
	urls     int
	changed  []bundle.Source
	failed   []bundle.Source
}

func (w *watch) readBundles(a *app, paths []string) error {
	all, err := a.readBundles(paths...)
	for _, b := range all {
		w.certs = append(w.certs, b.Certificates()...)
	}
	return err
}

func (w *watch) askSites(ctx context.Context, a *app, f bundleWatchFlags) error {
	entries, err := readEntries(f.catalogs)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e bundle.Entry) bool { return e.Status == bundle.Historic })
	store, err := openWatchStore(f.store)
	if err != nil {
		return err
	}
	if store != nil {
		defer store.Close()
	}
	sources, err := a.survey(ctx, &bundle.Fetcher{Store: store}, entries, true)
	if err != nil {
		return err
	}
	w.urls = len(sources)
	for _, s := range sources {
		if s.Pinned != nil {
			w.certs = append(w.certs, bundle.Certificate{Vendor: s.Entry.Vendor, Name: s.Entry.Name, X509: s.Pinned})
		}
		switch s.State {
		case bundle.SourceChanged:
			w.changed = append(w.changed, s)
		case bundle.SourceFailed:
			w.failed = append(w.failed, s)
		}
	}
	return nil
}

// openWatchStore opens the store that was named, or the user's own if there is one.
func openWatchStore(dir string) (*bundle.Store, error) {
	if dir != "" {
		return bundle.OpenStore(dir)
	}
	store, err := bundle.OpenStore(xdg.Certs())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return store, err
}

func (w *watch) print(a *app) error {
	a.printFaults(w.changed, nil)
	for _, c := range w.expiring {
		what := "expires"
		if w.at.After(c.X509.NotAfter) {
			what = "expired"
		}
		fmt.Fprintln(a.Out, printable(fmt.Sprintf("%s: %s %q on %s, %s", what, c.Vendor, c.Name, c.X509.NotAfter.UTC().Format(time.DateOnly), w.left(c))))
	}
	a.printFaults(w.failed, nil)
	said := fmt.Sprintf("%d certificates, %d of them valid for more than %d days", len(w.certs), len(w.certs)-len(w.expiring), w.withinDays())
	if w.urls > 0 {
		said += fmt.Sprintf("; %d URLs, %d of them as pinned", w.urls, w.urls-len(w.changed)-len(w.failed))
	}
	_, err := fmt.Fprintln(a.Out, said)
	return err
}

func (w *watch) withinDays() int64 { return int64(time.Duration(w.within) / oneDay) }

// left is the time from now to a certificate's end, in days.
func (w *watch) left(c bundle.Certificate) string {
	switch n := w.daysLeft(c); {
	case n < 0:
		return fmt.Sprintf("%d days ago", -n)
	case n == 0:
		return "within a day of now"
	default:
		return fmt.Sprintf("in %d days", n)
	}
}

// daysLeft are the whole days to a certificate's end, negative once it has passed.
func (w *watch) daysLeft(c bundle.Certificate) int64 {
	// In seconds, because a time.Duration ends after 292 years.
	return (c.X509.NotAfter.Unix() - w.at.Unix()) / int64(oneDay/time.Second)
}

// watchError is what was found, and the exit status that says so.
type watchError struct {
	text   string
	status int
}

// Error implements error.
func (e *watchError) Error() string { return e.text }

// err sums up: nil if there is nothing to say.
func (w *watch) err() error {
	var texts []string
	status := 0
	for _, part := range []struct {
		n      int
		text   string
		status int
	}{
		{len(w.changed), "serving other bytes than are pinned: %d of %d URLs", exitRefused},
		{len(w.expiring), "expired or soon to expire: %d of %d certificates", exitStale},
		{len(w.failed), "could not be checked: %d of %d URLs", exitFailed},
	} {
		if part.n == 0 {
			continue
		}
		of := w.urls
		if part.status == exitStale {
			of = len(w.certs)
		}
		texts = append(texts, fmt.Sprintf(part.text, part.n, of))
		if status == 0 {
			status = part.status
		}
	}
	if status == 0 {
		return nil
	}
	return &watchError{strings.Join(texts, "; "), status}
}

// watchJSON is the --json form. Programs depend on it.
type watchJSON struct {
	Time         time.Time      `json:"time"`
	WithinDays   int64          `json:"within_days"`
	Certificates int            `json:"certificates"` // whose end is known
	URLs         int            `json:"urls"`         // that were asked
	Changed      []sourceJSON   `json:"changed"`
	Expiring     []expiringJSON `json:"expiring"`
	Failed       []sourceJSON   `json:"failed"`
}

type expiringJSON struct {
	Vendor   string    `json:"vendor"`
	Name     string    `json:"name"`
	NotAfter time.Time `json:"not_after"`
	Expired  bool      `json:"expired"`
	DaysLeft int64     `json:"days_left"` // negative: days ago
}

func (w *watch) json() watchJSON {
	expiring := make([]expiringJSON, len(w.expiring))
	for i, c := range w.expiring {
		expiring[i] = expiringJSON{c.Vendor, c.Name, c.X509.NotAfter.UTC(), w.at.After(c.X509.NotAfter), w.daysLeft(c)}
	}
	return watchJSON{
		Time: w.at.Truncate(time.Second), WithinDays: w.withinDays(), Certificates: len(w.certs), URLs: w.urls,
		Changed: newSourcesJSON(w.changed, nil), Expiring: expiring, Failed: newSourcesJSON(w.failed, nil),
	}
}
