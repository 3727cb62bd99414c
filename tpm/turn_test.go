package tpm_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/tpm"
)

// hold takes the TPM's turn until release is called.
func hold(t *testing.T, d *tpm.Device) (release func()) {
	t.Helper()
	held, end, done := make(chan bool), make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		err := d.Do(context.Background(), func(transport.TPM) error {
			close(held)
			<-end
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}()
	<-held
	return func() { close(end); <-done }
}

// waitFor waits until so many wait for their turn.
func waitFor(t *testing.T, d *tpm.Device, waiting int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); d.Waiting() != waiting; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want %d", d.Waiting(), waiting)
		}
	}
}

// TestTurnsInOrder: who came first goes first, and who gave up is left out.
func TestTurnsInOrder(t *testing.T) {
	d := tpmtest.Start(t).Open()
	release := hold(t, d)
	const all, givesUp = 8, 3
	ctx, giveUp := context.WithCancel(t.Context())
	var order []int
	var wg sync.WaitGroup
	for i := range all {
		ctx := ctx
		if i != givesUp {
			ctx = t.Context()
		}
		wg.Go(func() {
			err := d.Do(ctx, func(transport.TPM) error { order = append(order, i); return nil })
			if i == givesUp && !errors.Is(err, context.Canceled) || i != givesUp && err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
		waitFor(t, d, i+1)
	}
	giveUp()
	waitFor(t, d, all-1)
	release()
	wg.Wait()
	if want := []int{0, 1, 2, 4, 5, 6, 7}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// TestCloseEndsTheWait: who waits when the device is closed is told at once, before
// the job in hand has ended.
func TestCloseEndsTheWait(t *testing.T) {
	d := tpmtest.Start(t).Open()
	release := hold(t, d)
	waited := make(chan error)
	go func() {
		waited <- d.Do(t.Context(), func(transport.TPM) error { t.Error("it ran"); return nil })
	}()
	waitFor(t, d, 1)
	closed := make(chan error)
	go func() { closed <- d.Close() }()
	if err := <-waited; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the one that waited: %v", err)
	}
	release()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestJobThatEndsItsGoroutine: the turn is passed on all the same.
func TestJobThatEndsItsGoroutine(t *testing.T) {
	d := tpmtest.Start(t).Open()
	done := make(chan bool)
	go func() {
		defer close(done)
		d.Do(t.Context(), func(transport.TPM) error { runtime.Goexit(); return nil })
	}()
	<-done
	if err := d.Do(t.Context(), func(transport.TPM) error { return nil }); err != nil {
		t.Error(err)
	}
}
