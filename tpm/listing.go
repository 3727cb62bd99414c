package tpm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// listing is what a folder was seen to hold.
type listing struct {
	dir     fileState
	settled bool         // the states will tell of every change
	files   []listedFile // by name
}

type listedFile struct {
	name  string
	state fileState
}

// fileState changes with a file, with what a link leads to, and with the owner and
// the mode.
type fileState struct {
	err                error // of asking
	inode              uint64
	mode, uid          uint32
	size, mtime, ctime int64
}

func stateOf(path string) fileState {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fileState{err: err}
	}
	return fileState{nil, st.Ino, uint32(st.Mode), st.Uid, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

// settled says that the times will tell of every change: they are older than a tick
// of the file system's clock.
func (s fileState) settled(now time.Time) bool {
	return s.err == nil && now.UnixNano()-max(s.mtime, s.ctime) >= int64(limits.TPMFolderTick)
}

// list reads a folder. A missing one is an empty one.
func list(dir string, now time.Time) (listing, error) {
	l := listing{dir: stateOf(dir)}
	l.settled = l.dir.settled(now)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return listing{}, err
	}
	for _, e := range entries {
		state := stateOf(filepath.Join(dir, e.Name()))
		if state.err == nil && !state.settled(now) {
			l.settled = false
		}
		l.files = append(l.files, listedFile{e.Name(), state})
	}
	return l, nil
}

// holds says whether the folder is known to hold the same files still. It costs a
// call for each of them, and reading the folder several more.
func (l *listing) holds(dir string) bool {
	if !l.settled || stateOf(dir) != l.dir {
		return false
	}
	for _, f := range l.files {
		if stateOf(filepath.Join(dir, f.name)) != f.state {
			return false
		}
	}
	return true
}

// keys are the names of the keys.
func (l *listing) keys() (names []string) {
	for _, f := range l.files {
		if name, found := strings.CutSuffix(f.name, keySuffix); found && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names
}
