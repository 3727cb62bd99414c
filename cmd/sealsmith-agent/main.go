package main

import (
	"context"
	"os"

	"github.com/sealsmith/sealsmith/internal/daemon"
)

func main() { os.Exit(daemon.Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }
