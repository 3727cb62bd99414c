package tpm_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestSharedDevice: two processes use one TPM through a resource manager, as behind
// /dev/tpmrm0: there is no owner, and each does everything while the other does. One
// changes the PIN of a key that the other has loaded.
func TestSharedDevice(t *testing.T) {
	chip := tpmtest.Start(t)
	dir := filepath.Join(t.TempDir(), "keys")
	pin := []byte("PIN 0")
	var backends [2]*tpm.Backend
	for i := range backends {
		o := tpmtest.Folders(t)
		node := filepath.Join(t.TempDir(), "tpmrm0")
		if err := os.Symlink(deviceNode(t, chip.Manage()), node); err != nil {
			t.Fatal(err)
		}
		o.Device = node
		d, err := tpm.NewDevice(o)
		if err != nil {
			t.Fatal(err)
		}
		backends[i] = backendOver(t, d, dir, func(_ context.Context, _ key.AuthRequest, use func([]byte) error) error { return use(pin) })
		defer backends[i].Close()
	}
	create(t, backends[0], "k", key.P256, pin)
	both := func() {
		t.Helper()
		for _, b := range backends {
			s, err := key.NewRing(b).Resolve(t.Context(), key.Ref{Name: "k"})
			if err != nil {
				t.Fatal(err)
			}
			mustSign(t, s)
		}
	}
	both()
	for i, b := range backends {
		next := fmt.Appendf(nil, "PIN %d", i+1)
		mustChange(t, b, pin, next)
		pin = next
		both()
	}
	var wg sync.WaitGroup
	for i, b := range backends {
		wg.Go(func() {
			for n := range 4 {
				name := fmt.Sprintf("key-%d-%d", i, n)
				s, err := b.Create(t.Context(), key.Spec{Name: name, Usage: key.SSH, Algorithm: key.P256})
				if err == nil {
					err = sign(t.Context(), s)
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	both()
}
