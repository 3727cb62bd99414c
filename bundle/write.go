package bundle

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
)

// Write puts the files into an existing folder, replacing those of the same
// names. All of them are on the disk, under temporary names, before the first
// takes its name; SHA256SUMS is last. So a failure, or a reader in between, finds
// the old release, or files that do not fit SHA256SUMS, never half a file.
func (o *Output) Write(dir string) error {
	stage, err := os.MkdirTemp(dir, ".tmp-release-*")
	if err != nil {
		return fmt.Errorf("write release: %w", err)
	}
	defer os.RemoveAll(stage)
	for _, f := range o.Files {
		if err := atomicfile.Write(filepath.Join(stage, f.Name), f.Data, 0o644); err != nil {
			return fmt.Errorf("write release: %w", err)
		}
	}
	for _, f := range o.Files {
		if err := os.Rename(filepath.Join(stage, f.Name), filepath.Join(dir, f.Name)); err != nil {
			return fmt.Errorf("write release: %w", err)
		}
	}
	folder, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("write release: %w", err)
	}
	defer folder.Close()
	return folder.Sync() // makes the names durable
}
