package seen

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
)

// Release is what is compared with the memory, and remembered.
type Release struct {
	Namespace string   // what kind of release, and whose
	Signers   []string // who signed it, by all names: "key" and a fingerprint, or "identity" and a name
	Accepted  []string // who else could have signed it and have it accepted
	Date      string   // YYYY-MM-DD
	SHA256    string   // of what was signed, in hexadecimal
}

// Mark is the newest release of a signer.
type Mark struct {
	Namespace string `json:"namespace"`
	Signer    string `json:"signer"`
	Date      string `json:"date"`
	SHA256    string `json:"sha256"`
}

// OlderError says that a newer release was seen.
type OlderError struct {
	Seen Mark
	Got  Release
}

// Error implements error.
func (e *OlderError) Error() string {
	return fmt.Sprintf("dated %s, and one of %s by %s was seen", e.Got.Date, e.Seen.Date, e.Seen.Signer)
}

// OtherError says that another release with the same date was seen.
type OtherError struct {
	Seen Mark
	Got  Release
}

// Error implements error.
func (e *OtherError) Error() string {
	return fmt.Sprintf("dated %s like another one by %s that was seen: the SHA-256 digest of what was signed is %s, and was %s",
		e.Got.Date, e.Seen.Signer, e.Got.SHA256, e.Seen.SHA256)
}

// Advance compares a release with what the file remembers of its signers and of the
// others who are accepted: an attacker would choose among them. It remembers the release
// as its signers' newest, and returns what was remembered before. If a mark is newer, the
// error is an [*OlderError]; if it has the same date and another digest, an
// [*OtherError]; the file is as it was then. With accept, the release is remembered in
// place of such marks. The folder must exist.
func Advance(path string, accept bool, r Release) (known []Mark, err error) {
	for _, signer := range r.Signers {
		if err := r.mark(signer).check(); err != nil {
			return nil, fmt.Errorf("remember the release: %w", err)
		}
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link stays one
	}
	unlock, err := lock(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	all, err := read(path)
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("what was seen before: %w", err),
			"nothing is forgotten unasked: mend the file, or remove it to begin anew")
	}
	next := slices.Clone(all)
	for i, old := range all {
		if old.Namespace != r.Namespace || !slices.Contains(r.Signers, old.Signer) && !slices.Contains(r.Accepted, old.Signer) {
			continue
		}
		known = append(known, old)
		if err := r.after(old); err != nil {
			if !accept {
				return known, err
			}
			next[i] = r.mark(old.Signer)
		}
	}
	for _, signer := range r.Signers {
		m := r.mark(signer)
		if i, found := slices.BinarySearchFunc(next, m, Mark.compare); found {
			next[i] = m
		} else {
			next = slices.Insert(next, i, m)
		}
	}
	if slices.Equal(next, all) {
		return known, nil
	}
	return known, write(path, next)
}

func (r Release) mark(signer string) Mark { return Mark{r.Namespace, signer, r.Date, r.SHA256} }

// after says what is wrong with a release that comes after another.
func (r Release) after(old Mark) error {
	switch {
	case r.Date < old.Date: // as text, for the form is fixed
		return &OlderError{Seen: old, Got: r}
	case r.Date == old.Date && r.SHA256 != old.SHA256:
		return &OtherError{Seen: old, Got: r}
	}
	return nil
}

// compare orders marks by whose they are.
func (m Mark) compare(other Mark) int {
	if c := strings.Compare(m.Namespace, other.Namespace); c != 0 {
		return c
	}
	return strings.Compare(m.Signer, other.Signer)
}

func (m Mark) check() error {
	for _, text := range []string{m.Namespace, m.Signer} {
		if text == "" || len(text) > limits.SeenSigner || !utf8.ValidString(text) || strings.ContainsFunc(text, unprintable) {
			return fmt.Errorf("%.200q names no signer", text)
		}
	}
	if _, err := time.Parse(time.DateOnly, m.Date); err != nil {
		return fmt.Errorf("%.40q is no date", m.Date)
	}
	if raw, err := hex.DecodeString(m.SHA256); err != nil || len(raw) != 32 || hex.EncodeToString(raw) != m.SHA256 {
		return fmt.Errorf("%.80q is no SHA-256 digest", m.SHA256)
	}
	return nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// memory is the file.
type memory struct {
	Version int    `json:"version"`
	Seen    []Mark `json:"seen"`
}

const version = 1

// encode is the one form in which marks are written, and read.
func encode(all []Mark) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(memory{version, all})
	return out.Bytes(), err
}

// decode takes only what encode writes.
func decode(data []byte) ([]Mark, error) {
	var m memory
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(&m)
	if m.Version > version { // which may have members of its own
		return nil, fmt.Errorf("version %d is of a later sealsmith", m.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("not JSON of this kind: %.200q", err.Error())
	}
	if m.Version != version {
		return nil, fmt.Errorf("version %d is not supported: want %d", m.Version, version)
	}
	for i, mark := range m.Seen {
		if err := mark.check(); err != nil {
			return nil, err
		}
		if i > 0 && m.Seen[i-1].compare(mark) >= 0 {
			return nil, fmt.Errorf("%.200q is not after the one before", mark.Signer)
		}
	}
	again, err := encode(m.Seen)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, data) {
		return nil, errors.New("changed by another program")
	}
	return m.Seen, nil
}

// read reads the file; one that does not exist remembers nothing.
func read(path string) ([]Mark, error) {
	data, err := xdg.ReadOwnFile(path, limits.SeenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

func write(path string, all []Mark) error {
	data, err := encode(all)
	if err != nil {
		return err
	}
	if len(data) > limits.SeenFile {
		return fmt.Errorf("%s is full: %d releases", path, len(all))
	}
	return atomicfile.Write(path, data, 0o600)
}

// lock waits a little for other processes. It locks the folder, because the file is
// replaced.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for start := time.Now(); ; time.Sleep(limits.LockPause) {
		err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { d.Close() }, nil // closing unlocks
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR || time.Since(start) > limits.LockWait {
			d.Close()
			return nil, fmt.Errorf("lock folder %s: %w", dir, err)
		}
	}
}
