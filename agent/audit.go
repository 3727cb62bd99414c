package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// AuditLog is a file of JSON objects, each a line that has the digest of the one
// before: docs/spec/audit-log.md. It is safe for concurrent use, also by other
// processes. A file that is full is set aside, and the chain goes on in a new one.
type AuditLog struct {
	path string
	full int64 // the size at which a file is set aside

	mu     sync.Mutex
	f      *os.File
	size   int64 // how long we left the file; another size means another writer
	end    tail  // of the file at that size
	mirror *mirror
}

// OpenAuditLog opens or makes the file, mode 0600, to append to it. It refuses
// what is not a regular file of our own user.
func OpenAuditLog(path string) (*AuditLog, error) {
	a := &AuditLog{path: path, full: limits.AuditFile, size: unknownSize}
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return a, nil
}

// unknownSize is no file's, so that the end is read before the next record.
const unknownSize = -1

func (a *AuditLog) open() error {
	// A pipe would block us, or tell its reader.
	f, err := os.OpenFile(a.path, os.O_APPEND|os.O_CREATE|os.O_RDWR|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !(info.Mode().IsRegular() && int(info.Sys().(*syscall.Stat_t).Uid) == os.Getuid()) {
		err = hint.Wrap(fmt.Errorf("%s is no regular file of our own", a.path), moveAway)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	a.f, a.size = f, unknownSize
	return nil
}

// Mirror sends each record to the system's log too, where there is one: to
// journald, else syslog. It is called once, before the first record.
func (a *AuditLog) Mirror() { a.mirror = newMirror(journalSocket, syslogSocket) }

// Close closes the file, and gives the system's log a moment for the last records.
func (a *AuditLog) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mirror != nil {
		a.mirror.close()
		a.mirror = nil
	}
	return a.f.Close()
}

// write appends a record.
func (a *AuditLog) write(r record) error {
	return a.writeBefore(time.Now().Add(limits.AuditLock), r)
}

// writeBefore gives up if another process has the file's lock until then. Who waits for
// those before them waits for that process at the same time.
func (a *AuditLog) writeBefore(deadline time.Time, r record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mirror != nil {
		r.Unmirrored = a.mirror.takeLost()
	}
	line, err := a.append(deadline, r)
	if err != nil {
		if a.mirror != nil {
			a.mirror.lost.Add(r.Unmirrored) // for the next one to tell
		}
		return hint.Wrap(fmt.Errorf("audit log: %w", err), "see whether the disk of the audit log is full")
	}
	if a.mirror != nil {
		a.mirror.send(line)
	}
	return nil
}

// append writes a line in one system call, so that lines never mix, and returns it.
func (a *AuditLog) append(deadline time.Time, r record) ([]byte, error) {
	if err := a.lock(deadline); err != nil {
		return nil, err
	}
	defer unlockFile(a.f)
	r.Seq, r.Prev = a.end.seq+1, a.end.digest
	r.Time = time.Now().UTC().Format(time.RFC3339Nano)
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	data := make([]byte, 0, len(line)+2)
	if a.end.torn {
		// What is appended to a line without an end would be lost with it.
		data = append(data, '\n')
	}
	data = append(append(data, line...), '\n')
	before := a.size
	a.size = unknownSize // if it fails in the middle
	if _, err := a.f.Write(data); err != nil {
		return nil, err
	}
	a.size, a.end = before+int64(len(data)), tail{seq: r.Seq, digest: digestOf(line)}
	return line, nil
}

// lock takes the file's lock and finds the end of the chain. If the file is full, or
// no longer the one of that name, it goes on in a new one.
func (a *AuditLog) lock(deadline time.Time) error {
	for {
		if err := lockFile(a.f, syscall.LOCK_EX, deadline); err != nil {
			return err
		}
		again, err := a.prepare()
		if err == nil && !again {
			return nil
		}
		unlockFile(a.f)
		if err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is exchanged again and again", a.path)
		}
		old := a.f
		if err := a.open(); err != nil {
			return err
		}
		old.Close()
	}
}

// prepare finds the end of the chain in the locked file. It says whether the file
// has to be opened again, as another took its place.
func (a *AuditLog) prepare() (again bool, err error) {
	info, err := a.f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(a.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case !os.SameFile(info, named):
		return true, nil
	}
	if size := info.Size(); size != a.size {
		end, err := a.readEnd(size)
		if err != nil {
			return false, err
		}
		if size < a.size {
			// Somebody cut off what we wrote. To go on from there would hide it.
			end.seq, end.digest = a.end.seq, a.end.digest
		}
		a.end, a.size = end, size
	}
	if a.size < a.full {
		return false, nil
	}
	return true, a.setAside()
}

// readEnd finds the end of the chain. An empty file goes on where the newest of those
// set aside ends, or where we were if we wrote to a file that was taken away.
func (a *AuditLog) readEnd(size int64) (tail, error) {
	if size > 0 {
		return readTail(a.f, size)
	}
	end := tail{digest: noDigest}
	older, err := olderLogs(a.path)
	if err == nil && len(older) > 0 {
		end, err = tailOf(older[len(older)-1])
	}
	if err == nil && a.end.seq > end.seq {
		end = a.end
	}
	end.torn = false // in another file
	return end, err
}

// setAside gives the full file a name of its own and removes the oldest of those
// that have one.
func (a *AuditLog) setAside() error {
	if err := os.Rename(a.path, olderLog(a.path, a.end.seq)); err != nil {
		return err
	}
	older, err := olderLogs(a.path)
	if err != nil {
		return err
	}
	for len(older) > limits.AuditFiles {
		if err := os.Remove(older[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		older = older[1:]
	}
	return nil
}

// olderLog is the name of a file that was set aside: audit.NUMBER.jsonl, with the
// number of its last record in as many digits as it takes to sort them.
func olderLog(path string, last uint64) string {
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s.%012d%s", strings.TrimSuffix(path, ext), last, ext)
}

// olderLogs are the files that were set aside, the oldest first.
func olderLogs(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var older []string
	ext := filepath.Ext(path)
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(path), e.Name())
		digits := strings.TrimSuffix(strings.TrimPrefix(name, strings.TrimSuffix(path, ext)+"."), ext)
		if len(digits) == 12 && strings.Trim(digits, "0123456789") == "" && e.Type().IsRegular() {
			older = append(older, name)
		}
	}
	slices.Sort(older)
	return older, nil
}

// lockFile waits for a lock that other processes may hold, but not for ever: one of
// them may be stopped.
func lockFile(f *os.File, how int, deadline time.Time) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is locked by another process", f.Name())
		}
		time.Sleep(limits.AuditRetry)
	}
}

func unlockFile(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) } // fails for closed files only
