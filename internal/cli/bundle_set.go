package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// readBundles reads CA bundles of either format: files, - for standard input, and
// folders with both bundles of a release. Nothing says yet who made them.
func (a *app) readBundles(paths ...string) ([]*bundle.Bundle, error) {
	var all []*bundle.Bundle
	for i, path := range paths {
		if path == "-" && slices.Contains(paths[i+1:], "-") {
			return nil, errStdinTwice
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() && path != "-" {
			both, err := readBundleFolder(path)
			if err != nil {
				return nil, err
			}
			all = append(all, both...)
			continue
		}
		data, err := a.readInput(path, limits.BundleFile)
		if err != nil {
			return nil, err
		}
		b, err := parseBundle(path, data)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// readBundleFolder reads the bundle of each kind, and what else is there does not
// matter.
func readBundleFolder(dir string) ([]*bundle.Bundle, error) {
	var all []*bundle.Bundle
	for _, kind := range bundle.Kinds() {
		path := filepath.Join(dir, kind.FileName())
		data, err := readFile(path, limits.BundleFile)
		if err != nil {
			return nil, hint.Wrap(err, "give a CA bundle, or a folder that holds "+strings.Join(bundleNames(), " and "))
		}
		b, err := parseBundle(path, data)
		if err != nil {
			return nil, err
		}
		if b.Header().Kind != kind {
			return nil, fmt.Errorf("%s holds %s", path, b.Header().Kind)
		}
		all = append(all, b)
	}
	return all, nil
}

var errStdinTwice = usageError(errors.New("standard input can be read only once"))

func parseBundle(path string, data []byte) (*bundle.Bundle, error) {
	b, err := bundle.Parse(data)
	if err != nil {
		if path == "-" {
			path = "standard input"
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// bundleJSON is the --json form of what a bundle says of itself.
type bundleJSON struct {
	Kind         bundle.Kind   `json:"kind"`
	Format       bundle.Format `json:"format"`
	Date         string        `json:"date"`
	Commit       string        `json:"commit,omitempty"`
	Certificates int           `json:"certificates"`
}

func bundlesJSON(bundles []*bundle.Bundle) []bundleJSON {
	all := make([]bundleJSON, len(bundles))
	for i, b := range bundles {
		h := b.Header()
		all[i] = bundleJSON{h.Kind, h.Format, h.Date, h.Commit, len(b.Certificates())}
	}
	return all
}

// memberJSON is the --json form of a certificate of a bundle.
type memberJSON struct {
	Kind   bundle.Kind `json:"kind"`
	Vendor string      `json:"vendor"`
	Name   string      `json:"name"`
	bundle.Summary
}

func newMemberJSON(m bundle.Member) (memberJSON, error) {
	s, err := bundle.Summarise(m.X509)
	return memberJSON{m.Kind, m.Vendor, m.Name, s}, err
}

// kindsText says which kinds bundles are of: "roots and intermediates".
func kindsText(bundles []*bundle.Bundle) string {
	var kinds []string
	for _, kind := range bundle.Kinds() {
		if slices.ContainsFunc(bundles, func(b *bundle.Bundle) bool { return b.Header().Kind == kind }) {
			kinds = append(kinds, string(kind))
		}
	}
	return strings.Join(kinds, " and ")
}

// datesText are the dates of bundles, each once.
func datesText(bundles []*bundle.Bundle) string {
	var dates []string
	for _, b := range bundles {
		dates = append(dates, b.Header().Date)
	}
	slices.Sort(dates)
	return strings.Join(slices.Compact(dates), " and ")
}
