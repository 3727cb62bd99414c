package cli

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/sealsmith/sealsmith/bundle"
)

// printChecked prints a line for each problem and finding, with its place as
// compilers write it.
func (a *app) printChecked(f bundleCheckFlags, files []*checkedFile, findings []checkedFinding, counts map[bundle.Severity]int) {
	certificates := 0
	for _, file := range files {
		for _, p := range file.problems {
			place := file.path
			if p.Line > 0 {
				place = fmt.Sprintf("%s:%d", file.path, p.Line)
			}
			fmt.Fprintf(a.Out, "%s: error: %s\n", printable(place), printable(p.Text))
		}
		if file.bundle == nil {
			continue
		}
		h := file.bundle.Header()
		certificates += len(file.bundle.Certificates())
		if !a.quiet {
			fmt.Fprintf(a.Out, "%s: %s, %s, %s format, dated %s\n",
				printable(file.path), h.Kind, plural(len(file.bundle.Certificates()), "certificate"), h.Format, h.Date)
		}
	}
	for _, found := range findings {
		if a.quiet && !f.refuses(found.Severity) {
			continue
		}
		fmt.Fprintf(a.Out, "%s:%d: %s\n", printable(found.path), found.line, printable(found.String()))
	}
	if !a.quiet {
		fmt.Fprintf(a.Out, "checked %s: %s\n", plural(certificates, "certificate"), countText(counts))
	}
}

// countText says "2 errors, 1 warning, 0 infos".
func countText(counts map[bundle.Severity]int) string {
	return plural(counts[bundle.Error], "error") + ", " + plural(counts[bundle.Warning], "warning") + ", " + plural(counts[bundle.Info], "info")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// checkedFileJSON is the --json form of a file that was checked.
type checkedFileJSON struct {
	File     string        `json:"file"`
	SHA256   string        `json:"sha256,omitempty"` // not of a folder
	Bundle   *bundleJSON   `json:"bundle,omitempty"` // if it is one
	Problems []problemJSON `json:"problems"`
}

type problemJSON struct {
	Line int    `json:"line,omitempty"` // left out if it is the whole file's
	Text string `json:"text"`
}

// checkedFindingJSON is the --json form of a finding and its place.
type checkedFindingJSON struct {
	File   string      `json:"file"`
	Line   int         `json:"line"` // where the certificate's PEM begins
	Kind   bundle.Kind `json:"kind"`
	Vendor string      `json:"vendor"`
	Name   string      `json:"name"`
	SHA256 string      `json:"sha256"`
	findingJSON
}

func (a *app) printCheckedJSON(f bundleCheckFlags, files []*checkedFile, findings []checkedFinding, counts map[bundle.Severity]int) error {
	result := struct {
		At       time.Time            `json:"at"`
		Files    []checkedFileJSON    `json:"files"`
		Findings []checkedFindingJSON `json:"findings"`
		Errors   int                  `json:"errors"` // the problems of files are some
		Warnings int                  `json:"warnings"`
		Infos    int                  `json:"infos"`
	}{f.at.UTC(), []checkedFileJSON{}, []checkedFindingJSON{}, counts[bundle.Error], counts[bundle.Warning], counts[bundle.Info]}
	for _, file := range files {
		one := checkedFileJSON{File: file.path, Problems: []problemJSON{}}
		if file.data != nil {
			one.SHA256 = fmt.Sprintf("%x", sha256.Sum256(file.data))
		}
		if file.bundle != nil {
			one.Bundle = &bundlesJSON([]*bundle.Bundle{file.bundle})[0]
		}
		for _, p := range file.problems {
			one.Problems = append(one.Problems, problemJSON{p.Line, p.Text})
		}
		result.Files = append(result.Files, one)
	}
	for _, c := range findings {
		result.Findings = append(result.Findings, checkedFindingJSON{
			c.path, c.line, c.Kind, c.Vendor, c.Name, c.SHA256, findingJSON{c.Rule, c.Severity, c.Text},
		})
	}
	return a.printJSON(result)
}
