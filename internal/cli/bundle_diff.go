package cli

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
)

func (a *app) bundleDiff() *cobra.Command {
	var markdown, exitCode bool
	c := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "say what changed between two TPM CA bundles",
		Long: `Diff compares the certificates of OLD and NEW. Each is a CA bundle of either format,
a folder with both bundles of a release, or - for the standard input.

  sealsmith bundle diff release-2026-04-11 release-2026-11-20
  sealsmith bundle diff old.pem new.pem --markdown > notes.md

  added, removed   the certificate is new or gone; "same key as" names one that NEW
                   holds, too: a renewal beside the old one, or a key that stays
  re-issued        another certificate for the same subject and key
  re-encoded       other bytes that say the same, extensions included
  moved            the same certificate among the certificates of another kind
  renamed          the same certificate with another name or vendor

It says nothing about who made the bundles: see sealsmith bundle verify.

Exit status 0, whether or not something changed; with --exit-code, 3 if it did.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if markdown && a.json {
				return usageError(errors.New("--markdown and --json exclude each other"))
			}
			d, err := a.readDiff(args[0], args[1])
			if err != nil {
				return err
			}
			if err := a.printDiff(d, markdown); err != nil {
				return err
			}
			if exitCode && len(d.changes) > 0 {
				return errDiffer
			}
			return nil
		},
	}
	c.Flags().BoolVar(&markdown, "markdown", false, "print release notes in Markdown")
	c.Flags().BoolVar(&exitCode, "exit-code", false, "exit status 3 if a certificate changed")
	return c
}

// errDiffer is for scripts that asked for it.
var errDiffer = errors.New("the certificates differ")

// bundleDiff is what changed, and between what.
type bundleDiff struct {
	before, after []*bundle.Bundle
	changes       []bundle.Change
	unchanged     int
}

func (a *app) readDiff(before, after string) (*bundleDiff, error) {
	if before == "-" && after == "-" {
		return nil, errStdinTwice
	}
	var d bundleDiff
	var err error
	if d.before, err = a.readBundles(before); err != nil {
		return nil, err
	}
	if d.after, err = a.readBundles(after); err != nil {
		return nil, err
	}
	if was, is := kindsText(d.before), kindsText(d.after); was != is {
		a.say("sealsmith: warning: %s holds %s, and %s %s", before, was, after, is)
	}
	if lastDate(d.before) > lastDate(d.after) {
		a.say("sealsmith: warning: OLD is of %s, and NEW of %s: are they the wrong way round?", lastDate(d.before), lastDate(d.after))
	}
	members := bundle.Members(d.before...)
	d.changes, err = bundle.Diff(members, bundle.Members(d.after...))
	d.unchanged = len(members)
	for _, c := range d.changes {
		if c.Old != nil {
			d.unchanged--
		}
	}
	return &d, err
}

// lastDate is the latest date of bundles.
func lastDate(bundles []*bundle.Bundle) string {
	last := ""
	for _, b := range bundles {
		last = max(last, b.Header().Date)
	}
	return last
}

func (a *app) printDiff(d *bundleDiff, markdown bool) error {
	switch {
	case a.json:
		return a.printDiffJSON(d)
	case markdown:
		text, err := d.markdown()
		fmt.Fprint(a.Out, text)
		return err
	}
	fmt.Fprintf(a.Out, "%s -> %s: %s\n", datesText(d.before), datesText(d.after), d.summary())
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	for _, c := range d.changes {
		m := subjectOf(c)
		details, err := changeDetails(c, c.Type == bundle.Reencoded, func(value string) string { return value })
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Type, m.Vendor, kindText(m.Kind), m.Name, strings.Join(details, ", "))
	}
	return w.Flush()
}

// summary counts the changes: "2 added, 1 renamed, 166 unchanged".
func (d *bundleDiff) summary() string {
	var parts []string
	for _, typ := range bundle.ChangeTypes() {
		if n := d.count(typ); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, typ))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "no changes")
	}
	return strings.Join(append(parts, fmt.Sprintf("%d unchanged", d.unchanged)), ", ")
}

func (d *bundleDiff) count(typ bundle.ChangeType) int {
	n := 0
	for _, c := range d.changes {
		if c.Type == typ {
			n++
		}
	}
	return n
}

// subjectOf is the certificate of a change, as it is now.
func subjectOf(c bundle.Change) *bundle.Member {
	if c.New == nil {
		return c.Old
	}
	return c.New
}

// kindText is the kind of one certificate.
func kindText(k bundle.Kind) string { return strings.TrimSuffix(string(k), "s") }

// diffJSON is what --json prints; docs/spec/bundle-json.md describes it.
type diffJSON struct {
	Old       []bundleJSON              `json:"old"`
	New       []bundleJSON              `json:"new"`
	Counts    map[bundle.ChangeType]int `json:"counts"`
	Unchanged int                       `json:"unchanged"`
	Changes   []changeJSON              `json:"changes"`
}

// changeJSON is the --json form of a change.
type changeJSON struct {
	Type       bundle.ChangeType `json:"type"`
	Old        *memberJSON       `json:"old,omitempty"`
	New        *memberJSON       `json:"new,omitempty"`
	Extensions []string          `json:"extensions,omitempty"`
	SameKey    *memberJSON       `json:"same_key,omitempty"`
}

func (a *app) printDiffJSON(d *bundleDiff) error {
	changes := make([]changeJSON, len(d.changes))
	for i, c := range d.changes {
		changes[i].Type, changes[i].Extensions = c.Type, c.Extensions
		for _, side := range []struct {
			from *bundle.Member
			to   **memberJSON
		}{{c.Old, &changes[i].Old}, {c.New, &changes[i].New}, {c.SameKey, &changes[i].SameKey}} {
			if side.from == nil {
				continue
			}
			m, err := newMemberJSON(*side.from)
			if err != nil {
				return err
			}
			*side.to = &m
		}
	}
	counts := map[bundle.ChangeType]int{}
	for _, typ := range bundle.ChangeTypes() {
		counts[typ] = d.count(typ)
	}
	return a.printJSON(diffJSON{bundlesJSON(d.before), bundlesJSON(d.after), counts, d.unchanged, changes})
}
