package agent

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// ErrAuditBroken is wrapped by the errors of [CheckAuditLog] that say that a log is
// not what was written.
var ErrAuditBroken = errors.New("the audit log was changed")

// AuditCheck is what the check of an audit log found: its records from the first to
// the last are those that were written, one after the other, unless somebody wrote
// all of the chain anew. That none was cut off at the end is proven only up to a head
// that was kept elsewhere.
type AuditCheck struct {
	Files []string `json:"files"` // the oldest first
	// First and Last are the numbers of the chained records; 0 if there are none.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Head is the digest of the last record. Who keeps it can later check that
	// the log still has all that it had.
	Head string `json:"head,omitempty"`
	// KeptHead is the number of the record with the head that was kept; 0 if
	// none was given.
	KeptHead uint64 `json:"kept_head,omitempty"`
	// Unchained counts records from before there was a chain: nothing is known
	// of them.
	Unchained int `json:"unchained,omitempty"`
	// Torn are the first lines that are no records: a full disk or a crash cut
	// them. MoreTorn counts those behind them.
	Torn     []AuditLine `json:"torn,omitempty"`
	MoreTorn int         `json:"more_torn,omitempty"`
}

// AuditLine is a place in an audit log.
type AuditLine struct {
	File string `json:"file"`
	Line int    `json:"line"` // from 1
}

// CheckAuditLog checks the chain of the file at path and, if older is set, of those
// that were set aside before it. The head, if there is one, is what an earlier check
// found: a record of the log must have it. Lines that are no longer what was written
// are an error that wraps [ErrAuditBroken]. It is safe while others write.
func CheckAuditLog(path string, older bool, head string) (AuditCheck, error) {
	c := checker{head: head}
	defer c.close()
	if err := c.open(path, older); err != nil {
		return AuditCheck{}, err
	}
	for _, f := range c.files {
		if err := c.file(f); err != nil {
			return AuditCheck{}, err
		}
	}
	// One line may be the first record, which a full disk cut.
	if f := c.found; f.Last == 0 && f.Unchained == 0 && len(f.Torn) > 1 {
		return AuditCheck{}, fmt.Errorf("%w: none of the %d lines of %s is a record", ErrAuditBroken, len(f.Torn)+f.MoreTorn, path)
	}
	if head != "" && c.found.KeptHead == 0 {
		return AuditCheck{}, fmt.Errorf("%w: no record of %s has the head %.64s", ErrAuditBroken, path, head)
	}
	return c.found, nil
}

type checker struct {
	head  string
	files []logFile
	found AuditCheck
	prev  string // digest of the line before; empty: there was none
}

// logFile is a file with the size that it had at one moment.
type logFile struct {
	*os.File
	size int64
}

// open opens the files as they are at one moment: the lock keeps writers away.
func (c *checker) open(path string, older bool) error {
	current, err := openLocked(path)
	if err != nil {
		return err
	}
	defer func() { c.files = append(c.files, current) }()
	defer unlockFile(current.File)
	if !older {
		return nil
	}
	paths, err := olderLogs(path)
	for _, p := range paths {
		var f logFile
		if f, err = openToRead(p); err != nil {
			break
		}
		c.files = append(c.files, f)
	}
	return err
}

// openLocked opens the file that has the name while nobody writes: a writer may set
// aside the one whose lock we wait for.
func openLocked(path string) (logFile, error) {
	for deadline := time.Now().Add(limits.AuditLock); ; time.Sleep(limits.AuditRetry) {
		f, err := openToRead(path)
		if err != nil {
			return logFile{}, err
		}
		if err = lockFile(f.File, syscall.LOCK_SH, deadline); err == nil {
			var named bool
			if named, err = f.hasName(path); named {
				return f, nil
			}
		}
		f.Close() // and so unlocks it
		if err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("%s is exchanged again and again", path)
		}
		if err != nil {
			return logFile{}, err
		}
	}
}

// hasName says whether the file is still the one of that name, and notes its size.
func (f *logFile) hasName(path string) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	f.size = info.Size()
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // for a moment: it is being set aside
	}
	return err == nil && os.SameFile(info, named), err
}

func openToRead(path string) (logFile, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return logFile{}, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return logFile{}, err
	}
	return logFile{f, info.Size()}, nil
}

func (c *checker) close() {
	for _, f := range c.files {
		f.Close()
	}
}

// file checks the lines of one file.
func (c *checker) file(f logFile) error {
	c.found.Files = append(c.found.Files, f.Name())
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, f.size), limits.AuditTail)
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		at := AuditLine{f.Name(), n}
		switch {
		case err == nil:
			line = line[:len(line)-1]
		case errors.Is(err, bufio.ErrBufferFull):
			return at.broken("the line is longer than any of ours")
		case !errors.Is(err, io.EOF):
			return fmt.Errorf("read %s: %w", f.Name(), err)
		case len(line) == 0:
			return nil
		}
		if err := c.line(at, line); err != nil {
			return err
		}
	}
}

func (c *checker) line(at AuditLine, line []byte) error {
	l, ok := linkOf(line)
	digest, before := digestOf(line), c.prev
	c.prev = digest
	switch {
	case !ok && len(c.found.Torn) == limits.AuditTorn:
		c.found.MoreTorn++
		return nil
	case !ok:
		c.found.Torn = append(c.found.Torn, at)
		return nil
	case l.Seq == nil && c.found.Last == 0:
		c.found.Unchained++
		return nil
	case l.Seq == nil || *l.Seq == 0 || *l.Seq > limits.AuditRecords:
		return at.broken("the record has no number of ours")
	case c.found.Last != 0 && *l.Seq != c.found.Last+1:
		return at.broken("record %d follows record %d", *l.Seq, c.found.Last)
	case before == "" && *l.Seq == 1 && l.Prev != noDigest:
		return at.broken("lines before record 1 are missing")
	case before != "" && l.Prev != before:
		return at.broken("record %d does not follow the line before it", *l.Seq)
	}
	if c.found.Last == 0 {
		c.found.First = *l.Seq
	}
	c.found.Last, c.found.Head = *l.Seq, digest
	if digest == c.head {
		c.found.KeptHead = *l.Seq
	}
	return nil
}

func (l AuditLine) broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s, line %d: %s", ErrAuditBroken, l.File, l.Line, fmt.Sprintf(format, args...))
}
