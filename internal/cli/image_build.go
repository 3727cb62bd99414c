package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/version"
	"github.com/sealsmith/sealsmith/oci"
)

// imageBuildFlags are the flags of `image build`.
type imageBuildFlags struct {
	binaries   []string
	goPackage  string
	ldflags    string
	platforms  []string
	files      []string
	entrypoint string
	labels     oci.Labels
	push       string
	output     string
}

func (a *app) imageBuild() *cobra.Command {
	var f imageBuildFlags
	c := &cobra.Command{
		Use:   "build (--binary PLATFORM=FILE | --go PACKAGE --platform PLATFORM) (--push REF | --output DIR)",
		Short: "build a reproducible OCI image",
		Long: `Build makes an image of a program for one or more platforms, on no base, that runs
as an unprivileged user. The same files and options give the same digest on every
machine. Times in the image are $SOURCE_DATE_EPOCH, or 1970.

The program is a binary that is there, or a Go package to build:

  sealsmith image build --binary linux/amd64=app --output layout
  sealsmith image build --go ./cmd/app --platform linux/amd64 --platform linux/arm64 \
      --push registry.example/app:v1

It prints the name of the image with its digest, which is what to sign and to run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runImageBuild(cmd.Context(), f) },
	}
	flags := c.Flags()
	flags.StringArrayVar(&f.binaries, "binary", nil, "the program for a platform, `PLATFORM=FILE` (linux/amd64=app)")
	flags.StringVar(&f.goPackage, "go", "", "Go `PACKAGE` to build as the program")
	flags.StringVar(&f.ldflags, "ldflags", "-s -w", "flags for the Go linker")
	flags.StringArrayVar(&f.platforms, "platform", nil, "`PLATFORM` to build the Go package for")
	flags.StringArrayVar(&f.files, "file", nil, "another file of the image, `SOURCE=/PATH`")
	flags.StringVar(&f.entrypoint, "entrypoint", "", "`PATH` of the program in the image (default /usr/bin/NAME)")
	flags.StringVar(&f.labels.Title, "title", "", "title of the image")
	flags.StringVar(&f.labels.Source, "source", "", "`URL` of the source")
	flags.StringVar(&f.labels.Revision, "revision", "", "commit of the source")
	flags.StringVar(&f.labels.Version, "image-version", "", "version of the program")
	flags.StringVar(&f.labels.Licenses, "licenses", "", "SPDX expression")
	flags.StringVar(&f.push, "push", "", "push to `REGISTRY/REPOSITORY:TAG`")
	flags.StringVar(&f.output, "output", "", "write an OCI layout to `DIR`")
	c.MarkFlagsOneRequired("push", "output")
	c.MarkFlagsMutuallyExclusive("push", "output")
	c.MarkFlagsOneRequired("binary", "go")
	c.MarkFlagsMutuallyExclusive("binary", "go")
	c.MarkFlagsMutuallyExclusive("binary", "platform")
	c.MarkFlagsMutuallyExclusive("binary", "ldflags")
	return c
}

func (a *app) runImageBuild(ctx context.Context, f imageBuildFlags) error {
	temp, err := os.MkdirTemp("", "sealsmith-image-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	inputs, err := a.programs(ctx, f, temp)
	if err != nil {
		return err
	}
	entrypoint := inputs[0].Files[0].Path
	for _, in := range inputs {
		if other := in.Files[0].Path; other != entrypoint {
			return hint.Wrap(usageError(fmt.Errorf("the programs of %s and %s have different names: %s and %s",
				inputs[0].Platform, in.Platform, entrypoint, other)), "give --entrypoint, the one place of both in the image")
		}
	}
	options := oci.BuildOptions{Labels: f.labels, Entrypoint: []string{entrypoint}}
	shared, err := parseFiles(f.files)
	if err != nil {
		return err
	}
	for _, in := range inputs {
		in.Files = append(in.Files, shared...)
		options.Inputs = append(options.Inputs, in)
	}
	epoch, err := sourceDate()
	if err != nil {
		return err
	}
	if epoch != nil {
		options.Epoch = *epoch
	}
	image, err := oci.Build(ctx, options)
	if err != nil {
		return err
	}
	defer image.Close()
	if f.output != "" {
		if err := oci.WriteLayout(f.output, image); err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "%s@%s\n", f.output, image.Digest())
		return nil
	}
	show, stop := a.progress("pushing")
	pushed, err := newRegistryClient().Push(ctx, f.push, image, show)
	stop()
	if err != nil {
		return err
	}
	fmt.Fprintln(a.Out, pushed)
	return nil
}

// programs returns each platform's program, as the first file of its input. What
// has to be built goes to the folder temp.
func (a *app) programs(ctx context.Context, f imageBuildFlags, temp string) ([]oci.Input, error) {
	if f.entrypoint != "" && !path.IsAbs(f.entrypoint) {
		return nil, usageError(fmt.Errorf("--entrypoint %.200q does not begin with a slash", f.entrypoint))
	}
	var inputs []oci.Input
	add := func(platform oci.Platform, source, name string) {
		dest := f.entrypoint
		if dest == "" {
			dest = path.Join("/usr/bin", name)
		}
		program := oci.File{Path: dest, Source: source, Executable: true}
		inputs = append(inputs, oci.Input{Platform: platform, Files: []oci.File{program}})
	}
	for _, text := range f.binaries {
		name, source, ok := strings.Cut(text, "=")
		if !ok {
			return nil, hint.Wrap(usageError(fmt.Errorf("--binary %.200q names no file", text)), "write --binary linux/amd64=FILE")
		}
		platform, err := oci.ParsePlatform(name)
		if err != nil {
			return nil, err
		}
		if err := checkProgram(source, platform); err != nil {
			return nil, err
		}
		add(platform, source, filepath.Base(source))
	}
	if f.goPackage == "" {
		return inputs, nil
	}
	if len(f.platforms) == 0 {
		return nil, hint.Wrap(usageError(errors.New("no platform to build for")), "give --platform linux/amd64, once for each platform")
	}
	absolute, err := filepath.Abs(f.goPackage)
	if err != nil {
		return nil, err
	}
	for i, text := range f.platforms {
		platform, err := oci.ParsePlatform(text)
		if err != nil {
			return nil, err
		}
		a.say("sealsmith: building %s for %s", f.goPackage, platform)
		out := filepath.Join(temp, fmt.Sprint(i))
		build := oci.GoBuildOptions{Package: f.goPackage, Platform: platform, Output: out, LDFlags: f.ldflags}
		if err := oci.GoBuild(ctx, build); err != nil {
			return nil, err
		}
		add(platform, out, filepath.Base(absolute))
	}
	return inputs, nil
}

func parseFiles(texts []string) ([]oci.File, error) {
	var files []oci.File
	for _, text := range texts {
		source, dest, ok := strings.Cut(text, "=")
		if !ok {
			return nil, hint.Wrap(usageError(fmt.Errorf("--file %.200q names no place in the image", text)), "write --file SOURCE=/PATH/IN/IMAGE")
		}
		files = append(files, oci.File{Path: dest, Source: source})
	}
	return files, nil
}

func newRegistryClient() *oci.Client { return oci.NewClient("sealsmith/" + version.Text()) }
