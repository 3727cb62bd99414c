package verify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links are followed, as in Linux.
const maxLinks = 40

// Outside refuses a trust file that is reached through the folder that is to be
// checked with it: whoever wrote the folder chose that trust. The path is walked
// step by step as the system does it, so neither a link into the folder nor one
// that stands in it passes. The refusal wraps [ErrRefused].
func Outside(dir, path string) error {
	folder, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("checked folder: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("trust file: %w", err)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("trust file: %w", err)
	}
	const root = string(filepath.Separator)
	here, links := root, 0 // here has no links in it
	for todo := steps(absolute); len(todo) > 0; {
		next := filepath.Join(here, todo[0])
		todo = todo[1:]
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil // the file is there: a pipe in /proc/PID/fd, a link to no path
		case err != nil:
			return fmt.Errorf("trust file: %w", err)
		case os.SameFile(folder, info):
			return refuse(TrustInside, "%.200q comes with what it should vouch for", path)
		case info.Mode().Type() != os.ModeSymlink:
			here = next
			continue
		}
		target, err := os.Readlink(next)
		if err != nil {
			return fmt.Errorf("trust file: %w", err)
		}
		if links++; links > maxLinks {
			return fmt.Errorf("trust file %.200q: too many links", path)
		}
		if filepath.IsAbs(target) {
			here = root
		}
		todo = append(steps(target), todo...)
	}
	return nil
}

// steps are the names in a path. (Join resolves "..", rightly, because here has
// no links.)
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}
