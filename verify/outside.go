package verify

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// Outside refuses a trust file that stands in the folder that is to be checked
// with it, is reached over a symbolic link that does, or is the same file by a hard
// link or mount: whoever wrote the folder chose that trust. The path is walked step
// by step, as the system does it. The refusal wraps [ErrRefused]. Nobody can tell
// where a copy comes from.
func Outside(dir, path string) error {
	folder, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("checked folder: %w", err)
	}
	trust, err := os.Stat(path)
	if err != nil {
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
	inside := below(folder, here)
	if !inside {
		if inside, err = holds(dir, trust); err != nil {
			return fmt.Errorf("compare the files of the checked folder with the trust file: %w", err)
		}
	}
	if inside {
		return refuse(TrustInside, "%.200q comes with what it should vouch for", path)
	}
	return nil
}

// holds says whether the file has a name in the folder or below it.
func holds(dir string, file os.FileInfo) (bool, error) {
	left := limits.CheckedFolder
	for todo := []string{dir}; len(todo) > 0; {
		here := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		entries, err := readDir(here, left)
		if err != nil {
			return false, err
		}
		if left -= len(entries); left < 0 {
			return false, refuse(ExtraFile, "the checked folder holds more than %d files", limits.CheckedFolder)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return false, err
			}
			if os.SameFile(info, file) {
				return true, nil
			}
			if e.IsDir() {
				todo = append(todo, filepath.Join(here, e.Name()))
			}
		}
	}
	return false, nil
}

// readDir reads at most most+1 entries.
func readDir(path string, most int) ([]os.DirEntry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(most + 1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return entries, err
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
