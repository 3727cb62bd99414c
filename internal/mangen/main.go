package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/sealsmith/sealsmith/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mangen DIR")
		os.Exit(2)
	}
	// The date is SOURCE_DATE_EPOCH's: the same source gives the same pages.
	header := &doc.GenManHeader{Section: "1", Source: "sealsmith", Manual: "sealsmith manual"}
	root := cli.Command()
	indentExamples(root)
	if err := doc.GenManTree(root, header, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mangen:", err)
		os.Exit(1)
	}
}

// indentExamples makes literal blocks of what --help shows indented by two
// spaces: the generator wants four.
func indentExamples(c *cobra.Command) {
	lines := strings.Split(c.Long, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "  ") {
			lines[i] = "  " + line
		}
	}
	c.Long = strings.Join(lines, "\n")
	for _, sub := range c.Commands() {
		indentExamples(sub)
	}
}
