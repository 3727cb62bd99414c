package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
)

// open opens a file to read it. A pipe that nobody writes to is an empty file, not a
// wait for ever.
func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// readFile reads a file of at most limit bytes; a longer one is an error.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path, limit)
}

// readInput reads a file or, for "-", standard input.
func (a *app) readInput(path string, limit int64) ([]byte, error) {
	if path != "-" {
		return readFile(path, limit)
	}
	r, done := a.untilStopped(a.In)
	defer done()
	return readAll(r, "standard input", limit)
}

// writeResult writes what a command made to a file or, for "-", standard output.
func (a *app) writeResult(path string, data []byte) error {
	if path != "-" {
		return writeOutput(path, data)
	}
	_, err := a.Out.Write(data)
	return err
}

// writeOutput writes a file that was named by --output: atomically, through a link
// if it is one, and into a device or pipe instead of in its place.
func writeOutput(path string, data []byte) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if info, err := os.Stat(path); err != nil || info.Mode().IsRegular() {
		return atomicfile.Write(path, data, 0o644)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// stickyWriter remembers the first error: what was asked for and could not be
// printed is a failure of the command.
type stickyWriter struct {
	io.Writer
	err error
}

// Write implements [io.Writer].
func (w *stickyWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("print the result: %w", err)
	}
	return n, err
}

// readAll reads at most limit bytes. A file is read into one piece of memory of its
// size: most of what a short command waits for is memory that it never had before.
func readAll(f io.Reader, name string, limit int64) ([]byte, error) {
	var data bytes.Buffer
	if file, ok := f.(*os.File); ok {
		if info, err := file.Stat(); err == nil {
			data.Grow(int(min(info.Size(), limit)) + bytes.MinRead)
		}
	}
	if _, err := data.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		if failed, ok := errors.AsType[*fs.PathError](err); ok {
			err = failed.Err // without the name, again
		}
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(data.Len()) > limit {
		return nil, fmt.Errorf("read %s: longer than %d bytes", name, limit)
	}
	return data.Bytes(), nil
}
