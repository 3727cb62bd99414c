package bundle

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// Store keeps certificates by content: a folder of files named
// <SHA-256 in lower-case hexadecimal>.crt, each the DER of one certificate. It
// makes builds independent of what vendors' sites serve later. It is safe for
// concurrent use, also by several processes.
type Store struct {
	dir  string
	root *os.Root // links must not lead out of the folder
}

// OpenStore opens an existing folder. Close it after use.
func OpenStore(dir string) (*Store, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open certificate store: %w", err)
	}
	return &Store{dir, root}, nil
}

// Close releases the folder.
func (s *Store) Close() error { return s.root.Close() }

// Certificate reads the bytes with this SHA-256 digest. The error wraps
// [fs.ErrNotExist] if the store has none; a file with other bytes is an error,
// too.
func (s *Store) Certificate(digest [sha256.Size]byte) ([]byte, error) {
	name := storeName(digest)
	// Opening a pipe would wait for its writer, but not so.
	f, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("certificate store: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("certificate store: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > limits.BundleCertificate {
		return nil, s.damaged(name, "is no file of at most 64 KiB")
	}
	der, err := io.ReadAll(io.LimitReader(f, limits.BundleCertificate)) // it may grow
	if err != nil {
		return nil, fmt.Errorf("certificate store: %w", err)
	}
	if got := sha256.Sum256(der); got != digest {
		return nil, s.damaged(name, fmt.Sprintf("holds other bytes: their SHA-256 digest is %x", got))
	}
	return der, nil
}

func (s *Store) damaged(name, how string) error {
	path := filepath.Join(s.dir, name)
	return hint.Wrap(fmt.Errorf("certificate store: %s %s", name, how), "remove "+path+" and fetch it again")
}

// Add keeps the DER of a certificate under its digest. A file that is there
// and right is left alone.
func (s *Store) Add(der []byte) error {
	digest := sha256.Sum256(der)
	if _, err := s.Certificate(digest); err == nil {
		return nil
	}
	if err := atomicfile.Write(filepath.Join(s.dir, storeName(digest)), der, 0o644); err != nil {
		return fmt.Errorf("certificate store: %w", err)
	}
	return nil
}

// unpinned is the folder below a store for what URLs served in place of the
// certificates that a catalog means: to be looked at, never to build from.
const unpinned = "unpinned"

// addUnpinned keeps such a certificate. There is room for a few only: a site could
// serve another one each day.
func (s *Store) addUnpinned(der []byte) error {
	if err := s.root.Mkdir(unpinned, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("certificate store: %w", err)
	}
	dir := filepath.Join(s.dir, unpinned)
	root, err := s.root.OpenRoot(unpinned)
	if err != nil {
		return fmt.Errorf("certificate store: %w", err)
	}
	defer root.Close()
	folder, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("certificate store: %w", err)
	}
	defer folder.Close()
	kept, err := folder.Readdirnames(limits.BundleUnpinned)
	if err != nil && err != io.EOF { // which means that the folder is empty
		return fmt.Errorf("certificate store: %w", err)
	}
	if len(kept) == limits.BundleUnpinned {
		return hint.Wrap(fmt.Errorf("%s holds %d files or more", dir, len(kept)), "look at them, then remove "+dir)
	}
	return (&Store{dir, root}).Add(der)
}

// Unpinned is the file in which [Fetcher.Refresh] kept a certificate that a URL
// served in place of another; "" if there is none.
func (s *Store) Unpinned(c *x509.Certificate) string {
	name := filepath.Join(unpinned, storeName(sha256.Sum256(c.Raw)))
	if _, err := s.root.Stat(name); err != nil {
		return ""
	}
	return filepath.Join(s.dir, name)
}

// find returns the bytes of an entry, or nil if the store has none. Bytes can
// be found only by a pinned SHA-256.
func (s *Store) find(e Entry) ([]byte, error) {
	pin, ok := e.pin(crypto.SHA256)
	if !ok {
		return nil, nil
	}
	der, err := s.Certificate([sha256.Size]byte(pin.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return der, err
}

func storeName(digest [sha256.Size]byte) string { return hex.EncodeToString(digest[:]) + ".crt" }
