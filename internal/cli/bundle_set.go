package cli

import (
	"errors"
	"fmt"
	"io/fs"
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
		if isBundleFolder(path) {
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

func isBundleFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir() && path != "-"
}

// readExceptions returns the exceptions from rules, by the digest of the certificate,
// that the indices of those paths declare that are folders. The bundles are those of
// [app.readBundles]. A folder may have no index.
func readExceptions(paths []string, bundles []*bundle.Bundle) (map[string][]string, error) {
	all := map[string][]string{}
	for _, path := range paths {
		if !isBundleFolder(path) {
			bundles = bundles[1:]
			continue
		}
		n := len(bundle.Kinds())
		index, err := readIndex(path, bundles[:n])
		if err != nil {
			return nil, err
		}
		declared(all, index)
		bundles = bundles[n:]
	}
	return all, nil
}

// readIndex reads the index of a folder, which is empty if there is none.
func readIndex(dir string, bundles []*bundle.Bundle) (*bundle.Index, error) {
	path := filepath.Join(dir, bundle.IndexName)
	data, err := readFile(path, limits.BundleIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return &bundle.Index{}, nil
	} else if err != nil {
		return nil, err
	}
	index, err := bundle.ParseIndex(data, bundles...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return index, nil
}

// declared adds the exceptions of an index.
func declared(exceptions map[string][]string, index *bundle.Index) {
	for _, c := range index.Certificates {
		exceptions[c.SHA256] = c.Exceptions
	}
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
