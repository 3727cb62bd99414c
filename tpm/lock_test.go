package tpm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

func TestLockFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".lock")
	held, err := tryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockFolder(t.Context(), path, 20*time.Millisecond)
	if hints := strings.Join(hint.Of(err), ""); !errors.Is(err, key.ErrBusy) ||
		!strings.Contains(err.Error(), filepath.Dir(path)) || !strings.Contains(hints, path) {
		t.Errorf("held by another: %v, hints %q", err, hints)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := lockFolder(ctx, path, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up: %v", err)
	}
	time.AfterFunc(20*time.Millisecond, func() { held.Close() })
	f, err := lockFolder(t.Context(), path, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// TestOwnersOneAtATime: removing the lock file lets no second owner in.
func TestOwnersOneAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lock")
	device, err := parseTarget("unix:/run/x.sock")
	if err != nil {
		t.Fatal(err)
	}
	var owners, turns atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for turns.Load() < 200 {
				f, err := device.own(dir)
				if errors.Is(err, key.ErrBusy) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := owners.Add(1); n != 1 {
					t.Errorf("%d owners", n)
				}
				turns.Add(1)
				owners.Add(-1)
				if err := disown(f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
