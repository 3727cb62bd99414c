package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// What is between these lines of somebody's file is ours.
const (
	blockBegin = "# begin: written by sealsmith init\n"
	blockEnd   = "# end: written by sealsmith init\n"
)

// copySuffix is what the copy of a file has after its name.
const copySuffix = ".before-sealsmith"

// block is a few lines that belong into somebody's file.
type block struct {
	File    string `json:"file"`
	Text    string `json:"text"`
	Written bool   `json:"written"` // the lines are in the file
	hold    string // why only a person can put them there; empty: no reason
}

// present says whether the file has these very lines as our block.
func (b block) present() bool {
	data, err := readFile(b.File, limits.SetUpFile)
	return err == nil && bytes.Contains(data, []byte(blockBegin+b.Text+blockEnd))
}

// write puts the block at the end of its file, or in the place of the block that is
// there. Nothing outside the block changes, and kept is a copy of the file as it was,
// if it was there.
func (b block) write() (kept string, err error) {
	path, data, perm, err := b.read()
	if err != nil {
		return "", err
	}
	next, err := replaceBlock(data, b.Text)
	if err != nil {
		return "", hint.Wrap(fmt.Errorf("%s: %w", b.File, err), "remove the lines of sealsmith init from it, and try again")
	}
	if data == nil {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return "", err
		}
		return "", atomicfile.WriteNew(path, next, perm)
	}
	kept = path + copySuffix
	if err := atomicfile.Write(kept, data, perm); err != nil {
		return "", err
	}
	return kept, atomicfile.Write(path, next, perm)
}

// read reads the file that is to have the block, through a link if it is one: many
// keep such files elsewhere. A missing one is nil.
func (b block) read() (path string, data []byte, perm fs.FileMode, err error) {
	path, err = filepath.EvalSymlinks(b.File)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(b.File); err == nil {
			return "", nil, 0, fmt.Errorf("%s is a link to what does not exist", b.File)
		}
		return b.File, nil, 0o600, nil
	}
	if err != nil {
		return "", nil, 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return "", nil, 0, fmt.Errorf("%s is not a regular file", b.File)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Getuid() {
		return "", nil, 0, fmt.Errorf("%s belongs to uid %d", path, owner.Uid) // a new file would be ours
	}
	data, err = readFile(path, limits.SetUpFile)
	if data == nil {
		data = []byte{}
	}
	return path, data, info.Mode().Perm(), err
}

// replaceBlock returns the text of a file with our block, which it has at most once.
func replaceBlock(data []byte, text string) ([]byte, error) {
	old := string(data)
	block := blockBegin + text + blockEnd
	// An editor may have changed the ends of the lines.
	begins, ends := strings.Count(old, strings.TrimSpace(blockBegin)), strings.Count(old, strings.TrimSpace(blockEnd))
	if begins == 0 && ends == 0 {
		if old != "" && !strings.HasSuffix(old, "\n") {
			old += "\n"
		}
		return []byte(old + block), nil
	}
	before, rest, _ := strings.Cut(old, blockBegin)
	_, after, closed := strings.Cut(rest, blockEnd)
	if begins != 1 || ends != 1 || !closed || before != "" && !strings.HasSuffix(before, "\n") {
		return nil, errors.New("the lines of sealsmith init in it were changed")
	}
	return []byte(before + block + after), nil
}
