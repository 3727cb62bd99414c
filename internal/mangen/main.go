// Mangen writes the man pages of sealsmith's commands into a folder:
//
//	mangen DIR
//
// # Trust
//
// A build tool: it reads nothing but the command tree.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/sealsmith/sealsmith/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mangen DIR")
		os.Exit(2)
	}
	// A fixed date: the same source gives the same pages.
	date := time.Unix(0, 0).UTC()
	header := &doc.GenManHeader{Section: "1", Source: "sealsmith", Manual: "sealsmith manual", Date: &date}
	if err := doc.GenManTree(cli.Command(), header, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mangen:", err)
		os.Exit(1)
	}
}
