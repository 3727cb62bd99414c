package cli

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// bundleCheckFlags are the flags of `bundle check`.
type bundleCheckFlags struct {
	at     time.Time
	soon   days
	strict bool
}

func (a *app) bundleCheck() *cobra.Command {
	f := bundleCheckFlags{soon: days(limits.BundleSoon)}
	c := &cobra.Command{
		Use:   "check FILE|DIR...",
		Short: "check TPM CA bundles: every byte, and each certificate",
		Long: `Check reads CA bundles of either format whole. Every byte must be what the format
makes of the certificates, so that comments never lie and nothing else is in the
file. Then it judges the certificates by the rules of docs/spec/ca-bundle.md, and
those of all bundles that are given as one set: which issued which, what they share.

  sealsmith bundle check tpm-ca-certificates.pem tpm-intermediate-ca-certificates.pem
  sealsmith bundle check release
  sealsmith bundle check - < bundle.pem

Of a folder, its index.json and SHA256SUMS are checked, too, and exceptions from rules
that the catalog declared and index.json repeats are only info. Whether a bundle is of
roots or of intermediates is in the file; its name does not matter. Errors are exit
status 3. Who made the bundles is another question: see sealsmith bundle verify.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if f.at.IsZero() {
				f.at = time.Now()
			}
			return a.checkBundles(f, args)
		},
	}
	flags := c.Flags()
	flags.TimeVar(&f.at, "at", time.Time{}, []string{time.DateOnly, time.RFC3339}, "judge as at `TIME` (YYYY-MM-DD or RFC 3339) instead of now")
	flags.Var(&f.soon, "soon", "warn of certificates that expire within `DAYS`")
	flags.BoolVar(&f.strict, "strict", false, "warnings are errors")
	return c
}

// refuses says whether findings of a severity are errors.
func (f bundleCheckFlags) refuses(s bundle.Severity) bool {
	return s == bundle.Error || f.strict && s == bundle.Warning
}

// checkedFile is what was found in a file; its bundle is nil if it is none.
type checkedFile struct {
	path     string
	data     []byte
	bundle   *bundle.Bundle
	problems []*bundle.Problem
	index    *bundle.Index // of the release, in the first of its files
}

// checkedFinding is a finding with the place of its certificate.
type checkedFinding struct {
	bundle.Finding
	path string
	line int
}

func (a *app) checkBundles(f bundleCheckFlags, paths []string) error {
	files, err := a.readChecked(paths)
	if err != nil {
		return err
	}
	findings, err := vetChecked(f, files)
	if err != nil {
		return err
	}
	counts := map[bundle.Severity]int{}
	for _, file := range files {
		counts[bundle.Error] += len(file.problems)
	}
	for _, finding := range findings {
		counts[finding.Severity]++
	}
	if a.json {
		err = a.printCheckedJSON(f, files, findings, counts)
	} else {
		a.printChecked(f, files, findings, counts)
	}
	if counts[bundle.Error] > 0 || counts[bundle.Warning] > 0 && f.refuses(bundle.Warning) {
		err = errors.Join(fmt.Errorf("%w: %s", errFaulty, countText(counts)), err)
	}
	return err
}

// errFaulty is what was checked and has errors.
var errFaulty = errors.New("refused")

// readChecked reads all files, those of folders included. The error is for what
// cannot be read.
func (a *app) readChecked(paths []string) ([]*checkedFile, error) {
	var files []*checkedFile
	for i, path := range paths {
		if path == "-" && slices.Contains(paths[i+1:], "-") {
			return nil, errStdinTwice
		}
		if isBundleFolder(path) {
			some, err := checkFolder(path)
			if err != nil {
				return nil, err
			}
			files = append(files, some...)
			continue
		}
		data, err := a.readInput(path, limits.BundleFile)
		if err != nil {
			return nil, err
		}
		files = append(files, checkFile(path, data))
	}
	return files, nil
}

func checkFile(path string, data []byte) *checkedFile {
	file := &checkedFile{path: path, data: data}
	file.bundle, file.problems = bundle.CheckFile(data)
	return file
}

// checkFolder checks the bundles of a release, and if they are well-formed the rest.
func checkFolder(dir string) ([]*checkedFile, error) {
	folder, err := readRelease(dir)
	if err != nil {
		return nil, err
	}
	var files []*checkedFile
	for _, name := range bundleNames() {
		data, err := folder.file(name)
		if err != nil {
			return nil, err
		}
		file := checkFile(filepath.Join(dir, name), data)
		files = append(files, file)
		if len(file.problems) > 0 {
			return files, nil
		}
	}
	if _, err = folder.checkFiles(); err == nil {
		err = folder.checkParents()
	}
	if err != nil {
		return append(files, &checkedFile{path: dir, problems: []*bundle.Problem{{Text: err.Error()}}}), nil
	}
	files[0].index = folder.index
	return files, nil
}

// vetChecked judges the certificates of all bundles together.
func vetChecked(f bundleCheckFlags, files []*checkedFile) ([]checkedFinding, error) {
	var bundles []*bundle.Bundle
	places := map[string][]checkedFinding{} // of each certificate, without finding
	o := bundle.VetOptions{At: f.at, Soon: time.Duration(f.soon), Exceptions: map[string][]string{}}
	for _, file := range files {
		if file.index != nil {
			declared(o.Exceptions, file.index)
		}
		if file.bundle == nil {
			continue
		}
		bundles = append(bundles, file.bundle)
		lines := file.bundle.Lines()
		for i, m := range bundle.Members(file.bundle) {
			id := placeID(m.Kind, fmt.Sprintf("%x", sha256.Sum256(m.X509.Raw)))
			places[id] = append(places[id], checkedFinding{path: file.path, line: lines[i]})
		}
	}
	findings, err := bundle.VetBundles(o, bundles...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFaulty, err)
	}
	all := make([]checkedFinding, len(findings))
	for i, finding := range findings {
		id := placeID(finding.Kind, finding.SHA256)
		if finding.Rule == "duplicate" && len(places[id]) > 1 {
			places[id] = places[id][1:] // the finding is about the next
		}
		all[i] = places[id][0]
		all[i].Finding = finding
	}
	return all, nil
}

func placeID(k bundle.Kind, digest string) string { return string(k) + " " + digest }
