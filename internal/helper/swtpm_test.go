package helper

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
)

// fakeSWTPM echoes, and ends when its socket is closed.
type fakeSWTPM struct {
	t     *testing.T
	err   error
	mu    sync.Mutex
	alive int
}

func (f *fakeSWTPM) start() (net.Conn, func() error, error) {
	if f.err != nil {
		return nil, nil, f.err
	}
	ours, theirs := sides(f.t)
	done := make(chan struct{})
	f.count(1)
	go func() {
		defer close(done)
		defer f.count(-1)
		io.Copy(theirs, theirs)
	}()
	return ours, func() error {
		defer theirs.Close()
		select {
		case <-done:
			return fmt.Errorf("ended: %w", key.ErrBusy)
		case <-time.After(time.Second):
			return errors.New("had to be killed")
		}
	}, nil
}

func (f *fakeSWTPM) count(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.alive += n
	return f.alive
}

func TestSWTPM(t *testing.T) {
	f := &fakeSWTPM{t: t}
	c, _ := pair(t, Services{Prompter: &person{}, StartSWTPM: f.start})
	for range 2 {
		conn, ended, err := c.StartSWTPM()
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write([]byte("echo")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4)
		if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "echo" {
			t.Errorf("%q, %v", buf, err)
		}
		conn.Close()
		if err := ended(); !errors.Is(err, key.ErrBusy) || !strings.Contains(err.Error(), "ended") {
			t.Errorf("end: %v", err)
		}
		if err := ended(); err == nil || !strings.Contains(err.Error(), "no software TPM runs") {
			t.Errorf("second end: %v", err)
		}
	}
	// One that was lost is ended before the next.
	first, _, err := c.StartSWTPM()
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	second, _, err := c.StartSWTPM()
	if err != nil || f.count(0) != 1 {
		t.Fatalf("%d run, %v", f.count(0), err)
	}
	second.Close()
	f.err = hint.Wrap(errors.New("no swtpm"), "install it")
	if _, _, err := c.StartSWTPM(); err == nil || err.Error() != "no swtpm" || len(hint.Of(err)) != 1 {
		t.Errorf("%v", err)
	}
	without, _ := pair(t, Services{Prompter: &person{}})
	if _, _, err := without.StartSWTPM(); err == nil || !strings.Contains(err.Error(), "another device") {
		t.Errorf("without one: %v", err)
	}
}
