package tpm

import (
	"errors"
	"net"
	"path/filepath"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

// TestStartSWTPM has a device use a software TPM that somebody else starts.
func TestStartSWTPM(t *testing.T) {
	testenv.Need(t, testenv.SWTPM)
	dir := t.TempDir()
	name := "swtpm:" + filepath.Join(dir, "tpm")
	s, err := NewSWTPM(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	started, ended := 0, 0
	d, err := NewDevice(Options{
		Device: name, LockDir: filepath.Join(dir, "run"), DataDir: filepath.Join(dir, "data"),
		StartSWTPM: func() (net.Conn, func() error, error) {
			conn, wait, err := s.Start()
			started++
			return conn, func() error { ended++; return wait() }, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Status(t.Context()); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil || started != 1 || ended != 1 {
		t.Errorf("started %d times, ended %d times, %v", started, ended, err)
	}
}

// TestSWTPMDying: an swtpm that leaves is waited for, one that stays is told of.
func TestSWTPMDying(t *testing.T) {
	testenv.Need(t, testenv.SWTPM)
	dir := t.TempDir()
	name := "swtpm:" + filepath.Join(dir, "tpm")
	s, err := NewSWTPM(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	old, ended, err := s.Start()
	if err != nil {
		t.Fatal(err)
	}
	// It has its folder when it answers.
	if _, err := (&link{conn: old.(conn)}).exchange(t.Context(), lockReset, limits.TPMOpen); err != nil {
		t.Fatal(err)
	}
	opened := 0
	d, err := NewDevice(Options{
		Device: name, LockDir: filepath.Join(dir, "run"), DataDir: filepath.Join(dir, "data"),
		StartSWTPM: func() (net.Conn, func() error, error) {
			if opened++; opened == 2 {
				old.Close()
			}
			return s.Start()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Status(t.Context()); err != nil || opened < 2 {
		t.Errorf("tried %d times, %v", opened, err)
	}
	if err := errors.Join(d.Close(), ended()); err != nil {
		t.Error(err)
	}
}

func TestNewSWTPM(t *testing.T) {
	for _, name := range []string{"", "/dev/tpmrm0", "unix:/x", "floppy:1"} {
		if s, err := NewSWTPM(name, nil); !errors.Is(err, key.ErrUsage) {
			t.Errorf("%q: %v, %v", name, s, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	s, err := NewSWTPM("swtpm:"+t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Start(); err == nil || len(hint.Of(err)) == 0 {
		t.Errorf("without the program: %v", err)
	}
}
