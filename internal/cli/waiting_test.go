package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
)

// TestStopWaiting stops a command that waits for what nobody writes.
func TestStopWaiting(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int)
	var stderr bytes.Buffer
	go func() {
		ended <- Main(ctx, []string{"tpm", "answer", "-"}, Streams{In: r, Out: io.Discard, Err: &stderr})
	}()
	stop()
	if status := <-ended; status != exitDenied {
		t.Errorf("exit status %d: %s", status, stderr.String())
	}

	// What is there is read, up to the end.
	a := &app{onStop: func(f func()) func() bool { return context.AfterFunc(t.Context(), f) }}
	if _, err := w.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	from, done := a.untilStopped(r)
	defer done()
	if text, err := io.ReadAll(from); err != nil || string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	if _, err := io.ReadAll(first(a.untilStopped(theirs))); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the end for writing: %v", err)
	}
	// A PIN too.
	stopped := &app{onStop: func(f func()) func() bool { return context.AfterFunc(ctx, f) }}
	stdin := os.Stdin
	os.Stdin = ours
	defer func() { os.Stdin = stdin }()
	if _, err := stopped.readPIN(0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func first(r io.Reader, _ func()) io.Reader { return r }
