package tpm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

// The files of a key; see the package comment.
const (
	keySuffix    = ".tpm"
	publicSuffix = ".pub"
	recordSuffix = ".json"
	// certificateSuffix ends the name of a certificate for the key (ssh-keygen(1)).
	certificateSuffix = "-cert.pub"
	tempPrefix        = ".tmp-" // of atomicfile
	lockName          = ".lock"
)

// folder is the key folder, read again when something in it changed. It is safe
// for concurrent use.
type folder struct {
	dir    string
	notice func(string)

	mu   sync.Mutex
	seen listing
	keys []storedKey // of seen
}

// list returns the keys by name. The slice must not be changed.
func (f *folder) list() ([]storedKey, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen.holds(f.dir) {
		return f.keys, nil
	}
	now, err := list(f.dir, time.Now())
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	if !f.seen.settled || !slices.Equal(now.files, f.seen.files) {
		f.keys = nil
		for _, name := range now.keys() {
			k := readKey(f.dir, name)
			if !errors.Is(k.err, fs.ErrNotExist) { // deleted meanwhile, or a link to nothing
				f.keys = append(f.keys, k)
			}
		}
	}
	f.seen = now
	return f.keys, nil
}

// store writes a new key. The files that can be made again come first: a crash
// at any time leaves a whole key or leftovers that the next change sweeps. It
// fails with [key.ErrExists].
func (f *folder) store(ctx context.Context, k *storedKey, file *keyFile) error {
	base := filepath.Join(f.dir, k.info.Ref.Name)
	pemData, err := file.encode()
	if err != nil {
		return err
	}
	line, err := sshwire.AuthorizedKey(k.info.Public, k.info.Comment)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(record{
		ID: k.info.ID, Created: k.info.Created, ParentName: formatName(k.object.parent), Unattended: k.info.Policy.Unattended,
	}, "", "  ")
	if err != nil {
		return err
	}
	return f.change(ctx, func() error {
		if f.has(k.info.Ref.Name) {
			return fmt.Errorf("key %q: %w", k.info.Ref.Name, key.ErrExists)
		}
		if err := atomicfile.Write(base+publicSuffix, line, 0o644); err != nil {
			return err
		}
		if err := atomicfile.Write(base+recordSuffix, append(data, '\n'), 0o600); err != nil {
			return err
		}
		if err := atomicfile.WriteNew(base+keySuffix, pemData, 0o600); err != nil {
			return err
		}
		k.mark = stateOf(base + keySuffix)
		return nil
	})
}

// errChanged is the error of whoever holds the state of a key file from before.
var errChanged = hint.Wrap(errors.New("the key file was changed meanwhile"), "try again")

// replace writes a key file anew, if it still is what the caller read. Until the
// new one is durable the old one is there, whole. It fails with [key.ErrNotFound].
func (f *folder) replace(ctx context.Context, name string, old, changed []byte) error {
	path := filepath.Join(f.dir, name+keySuffix)
	return f.change(ctx, func() error {
		now, err := xdg.ReadOwnFile(path, limits.TPMKeyFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("deleted meanwhile: %w", key.ErrNotFound)
		case err != nil:
			return err
		case !bytes.Equal(now, old):
			return errChanged
		}
		return atomicfile.Write(path, changed, 0o600)
	})
}

// unchanged fails if the key file is not the one that was read: a PIN would be
// used with the private area of another.
func (f *folder) unchanged(k *storedKey) error {
	if stateOf(filepath.Join(f.dir, k.info.Ref.Name+keySuffix)) != k.mark {
		return errChanged
	}
	return nil
}

// remove deletes a key: the truth first. It fails with [key.ErrNotFound].
func (f *folder) remove(ctx context.Context, name string) error {
	if !f.has(name) { // without this, a missing folder would be made
		return fmt.Errorf("key %.80q: %w", name, key.ErrNotFound)
	}
	return f.change(ctx, func() error {
		err := atomicfile.Remove(filepath.Join(f.dir, name+keySuffix))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("key %.80q: %w", name, key.ErrNotFound)
		}
		if err != nil {
			return err
		}
		sides := []string{publicSuffix, recordSuffix}
		if !f.has(strings.TrimSuffix(name+certificateSuffix, publicSuffix)) { // whose public key that would be
			sides = append(sides, certificateSuffix)
		}
		for _, suffix := range sides {
			if err := os.Remove(filepath.Join(f.dir, name+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

func (f *folder) has(name string) bool {
	_, err := os.Lstat(filepath.Join(f.dir, name+keySuffix))
	return err == nil
}

// change runs one change of the folder at a time, over all processes, after
// sweeping what an interrupted one left.
func (f *folder) change(ctx context.Context, do func() error) error {
	if err := xdg.Private(f.dir); err != nil {
		return fmt.Errorf("key folder: %w", err)
	}
	lock, err := lockFolder(ctx, filepath.Join(f.dir, lockName), limits.LockWait)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := f.sweep(); err != nil {
		return err
	}
	return do()
}

// sweep removes temporary files, and public keys and records without their key, but
// no certificate: a person put it there. The caller holds the folder's lock.
func (f *folder) sweep() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		base, isSide := strings.CutSuffix(name, publicSuffix)
		if !isSide {
			base, isSide = strings.CutSuffix(name, recordSuffix)
		}
		leftover := isSide && key.ValidName(base) && !f.has(base) && !strings.HasSuffix(name, certificateSuffix)
		if !leftover && !strings.HasPrefix(name, tempPrefix) {
			continue
		}
		if err := os.Remove(filepath.Join(f.dir, name)); err != nil {
			return fmt.Errorf("sweep leftovers: %w", err)
		}
		f.notice(fmt.Sprintf("removed %q, which an interrupted change of the key folder left", name))
	}
	return nil
}
