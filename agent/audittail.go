package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// tail is the end of a chain of records.
type tail struct {
	seq    uint64 // of the last record; 0: there is none
	digest string // of the last line, whatever it is
	torn   bool   // the last line has no end: a full disk or a crash cut it
}

// noDigest stands for a line that is not there.
var noDigest = strings.Repeat("0", 2*sha256.Size)

const moveAway = "move the file away; a new one will be made"

// digestOf is what the next line has of this one, which comes without its end.
func digestOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// link is what chains a line to the others.
type link struct {
	Seq  *uint64 `json:"seq"`
	Prev string  `json:"prev"`
}

// linkOf reads the link of a line. ok says whether the line is a record at all; those
// of versions without a chain have no number.
func linkOf(line []byte) (l link, ok bool) {
	if len(line) == 0 || line[0] != '{' {
		return link{}, false
	}
	return l, json.Unmarshal(line, &l) == nil
}

// readTail finds the end of the chain in the last lines of a file of this size.
func readTail(f *os.File, size int64) (tail, error) {
	window := make([]byte, min(size, limits.AuditTail))
	if _, err := f.ReadAt(window, size-int64(len(window))); err != nil {
		return tail{}, err
	}
	var t tail
	rest, whole := bytes.CutSuffix(window, []byte("\n"))
	t.torn = !whole
	begin := bytes.LastIndexByte(rest, '\n') + 1
	if begin == 0 && int64(len(window)) < size {
		return tail{}, hint.Wrap(errors.New("the last line is longer than any of ours"), moveAway)
	}
	t.digest = digestOf(rest[begin:])
	for {
		if l, ok := linkOf(rest[begin:]); ok && l.Seq != nil {
			if t.seq = *l.Seq; t.seq >= limits.AuditRecords {
				return tail{}, hint.Wrap(fmt.Errorf("the last record has the number %d, which is none of ours", t.seq), moveAway)
			}
			return t, nil
		}
		if begin == 0 {
			return t, nil // only older records, or none
		}
		rest = rest[:begin-1]
		begin = bytes.LastIndexByte(rest, '\n') + 1
	}
}

// tailOf is the end of the chain in a file that nobody writes to any more.
func tailOf(path string) (tail, error) {
	f, err := os.Open(path)
	if err != nil {
		return tail{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return tail{}, err
	}
	t, err := readTail(f, info.Size())
	if err != nil {
		return tail{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}
