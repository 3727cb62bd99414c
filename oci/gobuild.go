package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// GoBuildOptions say what [GoBuild] builds.
type GoBuildOptions struct {
	Dir      string // a folder of the module; empty means the working folder
	Package  string // what to build: "./cmd/app"
	Platform Platform
	Output   string // the file to write
	// LDFlags are for the linker, for example "-s -w".
	LDFlags string
}

// GoBuild builds a Go program so that the same sources and toolchain give the
// same bytes: without cgo, paths, the commit, a workspace, newer instructions
// than the platform's baseline, or flags and modes from the environment. Of what
// `go env -w` has set, only GOEXPERIMENT counts; the program records it.
//
// It runs the go command found on PATH, which obeys the module: build only what
// is trusted.
func GoBuild(ctx context.Context, o GoBuildOptions) error {
	if _, err := ParsePlatform(o.Platform.String()); err != nil {
		return err
	}
	if strings.HasPrefix(o.Package, "-") {
		return fmt.Errorf("package %.200q: %w", o.Package, ErrUsage)
	}
	output, err := filepath.Abs(o.Output) // go build runs elsewhere
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limits.GoBuild)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags="+o.LDFlags, "-o", output, o.Package)
	cmd.Dir = o.Dir
	// An empty variable makes the go command take what `go env -w` has set. So
	// GOFLAGS carries our flags; GOEXPERIMENT has no other neutral value.
	cmd.Env = append(os.Environ(),
		"GOFLAGS=-trimpath -buildvcs=false", "GOEXPERIMENT=", "GOFIPS140=off",
		"CGO_ENABLED=0", "GOWORK=off", "GOOS="+o.Platform.OS, "GOARCH="+o.Platform.Architecture)
	if setting := baselines[o.Platform]; setting != "" {
		cmd.Env = append(cmd.Env, setting)
	}
	var messages bytes.Buffer
	cmd.Stderr = &messages
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errors.Join(fmt.Errorf("go build %s for %s: %w", o.Package, o.Platform, err),
			errors.New(strings.TrimSpace(messages.String())))
	}
	return nil
}
