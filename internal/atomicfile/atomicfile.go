package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write puts data into path, replacing what is there. The file has exactly the
// permissions perm, whatever the umask. It is safe for concurrent use; the last
// writer wins.
func Write(path string, data []byte, perm fs.FileMode) error {
	return write(path, data, perm, os.Rename)
}

// WriteNew is [Write] for a file that must not exist yet. It fails with
// [fs.ErrExist] and leaves the existing file as it was; of several writers at
// once exactly one succeeds.
func WriteNew(path string, data []byte, perm fs.FileMode) error {
	return write(path, data, perm, func(temp, path string) error {
		// link(2) is the one call that names a whole file atomically and
		// never replaces another.
		if err := os.Link(temp, path); err != nil {
			return err
		}
		return os.Remove(temp)
	})
}

// Remove deletes a file durably. A missing file is [fs.ErrNotExist].
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func write(path string, data []byte, perm fs.FileMode, name func(temp, path string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".tmp-"+filepath.Base(path)+"-*")
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		return &fs.PathError{Op: "write", Path: path, Err: pathErr.Err} // the name that the caller knows
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.Name(), err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := name(f.Name(), path); err != nil {
		if linkErr := (*os.LinkError)(nil); errors.As(err, &linkErr) {
			return &fs.PathError{Op: "write", Path: path, Err: linkErr.Err}
		}
		return err
	}
	return syncDir(dir)
}

// syncDir makes a name in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
