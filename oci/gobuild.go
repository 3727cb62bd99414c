package oci

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
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
	// VCS writes the commit into the program, and whether there were changes
	// that are not in it; the same commit must then be checked out to build the
	// same bytes.
	VCS bool
}

// GoBuild builds a Go program so that the same sources and toolchain give the
// same bytes: without cgo, paths, a workspace, newer instructions than the
// platform's baseline, or flags from the environment. It returns what the
// program says of itself: the settings "vcs.revision" and "vcs.modified" tell
// whether this is a clean commit.
//
// It runs the go command found on PATH, which obeys the module: build only what
// is trusted.
func GoBuild(ctx context.Context, o GoBuildOptions) (*debug.BuildInfo, error) {
	if _, err := ParsePlatform(o.Platform.String()); err != nil {
		return nil, err
	}
	if strings.HasPrefix(o.Package, "-") {
		return nil, fmt.Errorf("package %.200q: %w", o.Package, ErrUsage)
	}
	output, err := filepath.Abs(o.Output) // go build runs elsewhere
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limits.GoBuild)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags="+o.LDFlags, "-o", output, o.Package)
	cmd.Dir = o.Dir
	// GOFLAGS cannot be emptied (the go command would take those of `go env -w`),
	// so that it carries our flags.
	cmd.Env = append(os.Environ(),
		fmt.Sprintf("GOFLAGS=-trimpath -buildvcs=%t", o.VCS),
		"CGO_ENABLED=0", "GOWORK=off", "GOOS="+o.Platform.OS, "GOARCH="+o.Platform.Architecture)
	if setting := baselines[o.Platform]; setting != "" {
		cmd.Env = append(cmd.Env, setting)
	}
	var messages bytes.Buffer
	cmd.Stderr = &messages
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, errors.Join(fmt.Errorf("go build %s for %s: %w", o.Package, o.Platform, err),
			errors.New(strings.TrimSpace(messages.String())))
	}
	return buildinfo.ReadFile(output)
}
