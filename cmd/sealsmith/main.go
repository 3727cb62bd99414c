// Command sealsmith keeps signing keys in hardware and signs, builds and verifies
// TPM CA bundles and OCI images with them. See sealsmith(1).
//
// # Trust
//
// It runs as the person who types it and trusts the arguments; everything that it
// reads from files, sockets and the network is hostile and handled in the packages
// below.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The second signal ends a command that does not heed the first.
	context.AfterFunc(ctx, stop)
	code := cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
