package sockets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// checkFolder refuses a folder in which another user, root apart, could put something
// in the place of what is ours: there, or by exchanging a folder or a link on the way
// to it.
func checkFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	return checkWay(dir)
}

// checkWay goes the way of an absolute path as the kernel does, link by link.
func checkWay(path string) error {
	at, links := "/", 0
	info, err := os.Lstat(at)
	if err != nil {
		return err
	}
	// Root may have another number in a namespace of users; the root folder is its own.
	root := owner(info)
	for rest := strings.Split(path, "/"); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at) // has no links any more
			continue
		}
		next := filepath.Join(at, name)
		if info, err = os.Lstat(next); err != nil {
			return err
		}
		if err := checkStep(next, info, root); err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > limits.SocketLinks {
			return errors.New("too many links on the way to " + path)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

// checkStep refuses a folder or a link that somebody else could exchange, or could
// exchange things in.
func checkStep(path string, info fs.FileInfo, root int) error {
	const choose = "choose a path on which all folders are yours or root's, or set XDG_RUNTIME_DIR to such a one"
	if uid := owner(info); uid != os.Getuid() && uid != root {
		return hint.Wrap(fmt.Errorf("%s belongs to uid %d", path, uid), choose)
	}
	// Of a link, the folder that it is in says who can change it.
	if info.IsDir() && info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return hint.Wrap(fmt.Errorf("other users can replace files in folder %s (mode %#o)", path, info.Mode().Perm()),
			"run: chmod go-w "+path, "or "+choose)
	}
	return nil
}

func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return 0
}
