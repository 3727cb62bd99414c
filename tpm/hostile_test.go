package tpm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// crowdedTPM claims that it holds some transient objects, and answers the first
// command to unload one when flush returns. It counts those commands.
func crowdedTPM(t *testing.T, objects int, flush func()) (d *tpm.Device, flushes func() int) {
	t.Helper()
	var mu sync.Mutex
	count := 0
	o := tpmtest.Folders(t)
	o.Device = fakeTPM(t, func(command []byte) []byte {
		if tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) == tpm2.TPMCCFlushContext {
			mu.Lock()
			defer mu.Unlock()
			if count++; count == 1 {
				flush()
			}
			return frame()
		}
		content := binary.BigEndian.AppendUint32([]byte{0}, uint32(tpm2.TPMCapHandles))
		content = binary.BigEndian.AppendUint32(content, uint32(objects))
		for i := range objects {
			content = binary.BigEndian.AppendUint32(content, 0x80000000+uint32(i))
		}
		return frame(content...)
	})
	d, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, func() int {
		mu.Lock()
		defer mu.Unlock()
		return count
	}
}

// frame is an answer of success.
func frame(content ...byte) []byte {
	answer := binary.BigEndian.AppendUint32([]byte{0x80, 0x01}, uint32(10+len(content)))
	return append(append(answer, 0, 0, 0, 0), content...)
}

func TestMoreHandlesThanATPMCanHave(t *testing.T) {
	d, flushes := crowdedTPM(t, 65, func() {})
	_, err := d.Status(t.Context())
	if !errors.Is(err, key.ErrNoDevice) || !strings.Contains(err.Error(), "65 handles") || flushes() != 0 {
		t.Errorf("%v after %d flushes", err, flushes())
	}
}

func TestOpeningEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d, flushes := crowdedTPM(t, 64, cancel)
	_, err := d.Status(ctx)
	if !errors.Is(err, context.Canceled) || errors.Is(err, key.ErrNoDevice) || flushes() != 1 {
		t.Errorf("%v after %d flushes; want the cancellation after one", err, flushes())
	}
}

func TestOpeningEndsWithTheDevice(t *testing.T) {
	begun := make(chan bool)
	var closing context.Context
	d, flushes := crowdedTPM(t, 64, func() { close(begun); <-closing.Done() })
	closing = d.Closing()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := d.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "TPM is closed") {
			t.Errorf("the job in hand: %v", err)
		}
	})
	<-begun
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if n := flushes(); n != 1 {
		t.Errorf("%d flushes", n)
	}
}

func TestOpeningEndsInTime(t *testing.T) {
	const ready = 20 * time.Millisecond
	d, flushes := crowdedTPM(t, 64, func() { <-time.After(2 * ready) })
	d.SetReadyLimit(ready)
	_, err := d.Status(t.Context())
	if !errors.Is(err, key.ErrNoDevice) || !strings.Contains(err.Error(), "not ready within") || len(hint.Of(err)) == 0 || flushes() != 1 {
		t.Errorf("%v, hints %q after %d flushes", err, hint.Of(err), flushes())
	}
}

// TestCloseCutsASilentTPM: the command in hand is given up, and not repeated.
func TestCloseCutsASilentTPM(t *testing.T) {
	begun, release := make(chan bool), make(chan bool)
	defer close(release)
	d, _ := crowdedTPM(t, 1, func() { close(begun); <-release })
	d.SetCloseLimits(20*time.Millisecond, time.Minute)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := d.Status(context.Background())
		if err == nil || !strings.Contains(err.Error(), "closed before it answered") {
			t.Errorf("the command in hand: %v", err)
		}
	})
	<-begun
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestCloseGivesUp(t *testing.T) {
	o := tpmtest.Start(t).Options()
	d, err := tpm.NewDevice(o)
	if err != nil {
		t.Fatal(err)
	}
	d.SetCloseLimits(time.Millisecond, time.Millisecond)
	begun, release := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		d.Do(context.Background(), func(transport.TPM) error {
			close(begun)
			<-release
			return nil
		})
	})
	<-begun
	first, second := d.Close(), d.Close()
	if first == nil || !strings.Contains(first.Error(), o.Device) || second != first {
		t.Errorf("close: %v, then %v", first, second)
	}
	close(release)
	wg.Wait()
}

// TestPanicEndsOneJob: the next one finds a TPM without what the first left.
func TestPanicEndsOneJob(t *testing.T) {
	chip := tpmtest.Start(t)
	d := chip.Open()
	b := backendOver(t, d, filepath.Join(t.TempDir(), "keys"), nil)
	s := create(t, b, "k", key.P256, nil)
	err := d.Do(t.Context(), func(transport.TPM) error { panic("odd content") })
	if err == nil || !strings.Contains(err.Error(), "odd content") {
		t.Errorf("a panic: %v", err)
	}
	mustSign(t, s)
}

// TestGivenUpJobUnloads: what was loaded before the caller gave up does not stay
// in a slot.
func TestGivenUpJobUnloads(t *testing.T) {
	d := tpmtest.Start(t).Open() // fails the test if something is left
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := d.Do(ctx, func(chip transport.TPM) error {
		rsp, err := tpm2.CreatePrimary{
			PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm.StorageTemplate()),
		}.Execute(chip)
		if err != nil {
			return err
		}
		cancel()
		if _, err := (tpm2.FlushContext{FlushHandle: rsp.ObjectHandle}).Execute(chip); err != nil {
			t.Errorf("unload: %v", err)
		}
		_, err = tpm2.GetRandom{BytesRequested: 1}.Execute(chip)
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("another command: %v; want the cancellation", err)
	}
}
