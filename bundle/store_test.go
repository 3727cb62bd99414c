package bundle

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
)

func TestStore(t *testing.T) {
	cert := testCA(t, "IFX", 1)
	s := newStore(t, cert, cert)
	got, err := s.Certificate(sha256.Sum256(cert.X509.Raw))
	if err != nil || string(got) != string(cert.X509.Raw) {
		t.Fatal(err)
	}
	names, err := os.ReadDir(s.dir)
	if err != nil || len(names) != 1 || names[0].Name() != storeName(sha256.Sum256(cert.X509.Raw)) {
		t.Errorf("store holds %v, %v", names, err)
	}
	if _, err := s.Certificate(sha256.Sum256(nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing certificate: %v", err)
	}
	if _, err := OpenStore(filepath.Join(s.dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing store: %v", err)
	}
}

// TestStoreDoesNotTrustItsFiles: each is damaged in one way, refused with
// advice, and replaced by Add.
func TestStoreDoesNotTrustItsFiles(t *testing.T) {
	cert := testCA(t, "IFX", 1).X509.Raw
	digest := sha256.Sum256(cert)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		damage func(path string) error
		want   string
	}{
		"other bytes": {func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }, "holds other bytes"},
		"truncated":   {func(path string) error { return os.WriteFile(path, cert[:99], 0o600) }, "holds other bytes"},
		"huge":        {func(path string) error { return os.WriteFile(path, make([]byte, 65<<10), 0o600) }, "is no file of at most 64 KiB"},
		"a link out":  {func(path string) error { return os.Symlink(outside, path) }, "path escapes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := c.damage(filepath.Join(s.dir, storeName(digest))); err != nil {
				t.Fatal(err)
			}
			_, err := s.Certificate(digest)
			wantError(t, err, c.want)
			if name != "a link out" && len(hint.Of(err)) != 1 {
				t.Errorf("hints %q", hint.Of(err))
			}
			if err := s.Add(cert); err != nil || !has(s, cert) {
				t.Errorf("not replaced: %v", err)
			}
		})
	}
	s := newStore(t)
	if err := os.Mkdir(filepath.Join(s.dir, storeName(digest)), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := s.Certificate(digest)
	wantError(t, err, "is no file")
	wantError(t, s.Add(cert), "certificate store")
}

// TestStoreNeverWaits: not even for a file that is a pipe by the time it is opened.
func TestStoreNeverWaits(t *testing.T) {
	cert := testCA(t, "IFX", 1).X509.Raw
	s := newStore(t)
	path := filepath.Join(s.dir, storeName(sha256.Sum256(cert)))
	pipe, file := filepath.Join(s.dir, "pipe"), filepath.Join(s.dir, "file")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			for _, source := range []string{pipe, file} {
				os.Link(source, path+".new")
				os.Rename(path+".new", path)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 3000 {
		if der, err := s.Certificate(sha256.Sum256(cert)); err == nil && string(der) != string(cert) {
			t.Error("other bytes")
		}
	}
	close(stop)
	<-stopped
}

// TestUnpinnedStaysBelowTheStore: who can write to a store does not choose where else
// we write.
func TestUnpinnedStaysBelowTheStore(t *testing.T) {
	cert := testCA(t, "IFX", 1)
	s := newStore(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(s.dir, unpinned)); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.addUnpinned(cert.X509.Raw), "path escapes")
	if files, err := os.ReadDir(outside); err != nil || len(files) != 0 {
		t.Errorf("outside has %v, %v", files, err)
	}
}
