package verify

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Outside refuses a trust file that stands in the folder that is to be checked
// with it, or is reached over a symbolic link that does: whoever wrote the folder
// chose that trust. The path is walked step by step, as the system does it. The
// refusal wraps [ErrRefused].
func Outside(dir, path string) error {
	folder, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("checked folder: %w", err)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("trust file: %w", err)
	}
	here, err := start(path)
	if err != nil {
		return fmt.Errorf("trust file: %w", err)
	}
	links := 0
	for todo := steps(path); len(todo) > 0; {
		next := filepath.Join(here, todo[0])
		todo = todo[1:]
		target, err := os.Readlink(next)
		if err != nil {
			here = next // no link
			continue
		}
		if below(folder, here) {
			break
		}
		if links++; links > limits.Links {
			return fmt.Errorf("trust file %.200q: too many links", path)
		}
		if filepath.IsAbs(target) {
			here = slash
		}
		todo = append(steps(target), todo...)
	}
	if below(folder, here) {
		return refuse(TrustInside, "%.200q comes with what it should vouch for", path)
	}
	return nil
}

const slash = string(filepath.Separator)

// start is where the walk of a path begins, without links in it.
func start(path string) (string, error) {
	if filepath.IsAbs(path) {
		return slash, nil
	}
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(here)
}

// below says whether a path without links is the folder or lies below it.
func below(folder os.FileInfo, path string) bool {
	for {
		if info, err := os.Lstat(path); err == nil && os.SameFile(folder, info) {
			return true
		}
		if path == slash {
			return false
		}
		path = filepath.Dir(path)
	}
}

// steps are the names in a path. (Join resolves "..", rightly, because here has
// no links.)
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}
