package agent

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/key"
)

// TestAuditFailure: what cannot be recorded is not signed.
func TestAuditFailure(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	if err := h.server.config.Audit.Close(); err != nil {
		t.Fatal(err)
	}
	client, _ := h.dialSSH()
	if s, err := client.Sign(sshKey(t, in), sshsigData(t, "git")); err == nil {
		t.Errorf("got the signature %v", s)
	}
	k, err := h.client().Key(t.Context(), in.Ref, "")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := k.SignSSHSIG(t.Context(), "git", "sha256", make([]byte, 32)); s != nil || err == nil || len(hint.Of(err)) == 0 {
		t.Errorf("got %x, %v", s, err)
	}
}

// TestManageWithoutAudit: what cannot be recorded is not created or deleted.
func TestManageWithoutAudit(t *testing.T) {
	h := start(t, nil)
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	if err := h.server.config.Audit.Close(); err != nil {
		t.Fatal(err)
	}
	c := h.client()
	if _, err := c.Create(t.Context(), key.Spec{Name: "new", Usage: key.SSH, Algorithm: key.P256}); err == nil || len(hint.Of(err)) == 0 {
		t.Errorf("create: %v", err)
	}
	if err := c.Delete(t.Context(), in); err == nil || len(hint.Of(err)) == 0 {
		t.Errorf("delete: %v", err)
	}
	if list, err := c.List(t.Context()); err != nil || len(list) != 1 || list[0].ID != in.ID {
		t.Errorf("the keys are now %v, %v", list, err)
	}
}

// closing is a backend whose audit log fails while it acts.
type closing struct {
	*keytest.Backend
	audit *AuditLog
}

func (b *closing) Create(ctx context.Context, s key.Spec) (key.Signer, error) {
	b.audit.Close()
	return b.Backend.Create(ctx, s)
}

func (b *closing) Delete(ctx context.Context, r key.Ref) error {
	b.audit.Close()
	return b.Backend.Delete(ctx, r)
}

// TestAuditFailsMeanwhile: what was done is said to be done, and the log says at
// least that it was begun.
func TestAuditFailsMeanwhile(t *testing.T) {
	t.Run("create", func(t *testing.T) {
		h := start(t, func(c *Config) { c.Keys = key.NewRing(&closing{&keytest.Backend{}, c.Audit}) })
		_, err := h.client().Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
		if err == nil || !strings.Contains(err.Error(), "create of the key tpm/k is done, but") {
			t.Errorf("got %v", err)
		}
		if r := h.lastRecord(); r.Action != "create" || r.Outcome != outcomeBegun || r.Ref != "k" {
			t.Errorf("audit %+v", r)
		}
	})
	t.Run("delete", func(t *testing.T) {
		backend := &keytest.Backend{}
		h := start(t, func(c *Config) { c.Keys = key.NewRing(&closing{backend, c.Audit}) })
		k, err := backend.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
		if err != nil {
			t.Fatal(err)
		}
		err = h.client().Delete(t.Context(), k.Info())
		if err == nil || !strings.Contains(err.Error(), "delete of the key tpm/k is done, but") {
			t.Errorf("got %v", err)
		}
		if r := h.lastRecord(); r.Action != "delete" || r.Outcome != outcomeBegun || r.Key != k.Info().ID {
			t.Errorf("audit %+v", r)
		}
	})
}

// TestTornRecord fills the disk in the middle of a record: what comes after it
// stands on a line of its own.
func TestTornRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a, err := OpenAuditLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := a.write(newRecord("first", SocketControl, Peer{})); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	withFileLimit(t, uint64(info.Size())+10, func() {
		if err := a.write(newRecord("torn", SocketControl, Peer{})); !errors.Is(err, syscall.EFBIG) || len(hint.Of(err)) == 0 {
			t.Errorf("full disk: %v", err)
		}
	})
	for _, action := range []string{"second", "third"} {
		if err := a.write(newRecord(action, SocketControl, Peer{})); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	for i, want := range []string{`"first"`, `{"seq":2,"`, `"second"`, `"third"`, ""} {
		if len(lines) != 5 || !strings.Contains(lines[i], want) || (i == 1) != (len(lines[i]) == 10) {
			t.Fatalf("the log is %q", lines)
		}
	}
}

// withFileLimit runs f while no file of this process may grow beyond size.
func withFileLimit(t *testing.T, size uint64, f func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old)
	f()
}

// TestOpenAuditLog: only a regular file of our own is one.
func TestOpenAuditLog(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, os.DevNull, dir} {
		if a, err := OpenAuditLog(path); err == nil {
			a.Close()
			t.Errorf("%s was taken for an audit log", path)
		}
	}
	path := filepath.Join(dir, "audit.jsonl")
	for range 2 { // made, and opened again
		a, err := OpenAuditLog(path)
		if err != nil {
			t.Fatal(err)
		}
		err = a.write(newRecord("x", SocketControl, Peer{}))
		if err := errors.Join(err, a.Close()); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	info, statErr := os.Stat(path)
	if err := errors.Join(err, statErr); err != nil || strings.Count(string(data), "\n") != 2 || info.Mode() != 0o600 {
		t.Errorf("%v, %q, %v", info.Mode(), data, err)
	}
}

// outcomes are the lines of the audit log in short.
func (h *harness) outcomes() []string {
	var all []string
	for _, r := range h.records() {
		all = append(all, r.Action+" "+r.Ref+" "+string(r.Outcome))
	}
	return all
}
