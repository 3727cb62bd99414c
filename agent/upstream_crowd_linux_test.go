package agent

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestUpstreamIdle: clients that were answered hold no connection to an upstream, which
// may have room for few.
func TestUpstreamIdle(t *testing.T) {
	var open, most atomic.Int32
	list := listOf(1, softKeys()[0].signer.PublicKey().Marshal(), "theirs")
	h := start(t, with(fake(t, func(c net.Conn) {
		if n := open.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer open.Add(-1)
		r := newFrameReader(c, newBudget(1<<20))
		for {
			if _, err := r.next(context.Background()); err != nil || writeFrame(c, list) != nil {
				return
			}
		}
	})))
	for i := range limits.UpstreamConnections + 10 {
		c, err := net.Dial("unix", h.ssh)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := listOnce(c); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
	}
	eventually(t, "all are closed", func() bool { return open.Load() == 0 })
	if n := most.Load(); n > 10 {
		t.Errorf("%d connections at once, for one client after the other", n)
	}
}

// TestUpstreamBacklog: where as many wait for an upstream as the kernel allows, we do, too.
func TestUpstreamBacklog(t *testing.T) {
	path := filepath.Join(testenv.SocketDir(t), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil { // one may wait
		t.Fatal(err)
	}
	first, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	h := start(t, with(Upstream{Path: path}))
	c, err := net.Dial("unix", h.ssh)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		time.Sleep(2 * limits.AcceptPause) // while ours tries
		l, err := net.FileListener(f)
		if err != nil {
			t.Error(err)
			return
		}
		context.AfterFunc(t.Context(), func() { l.Close() })
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			if _, err := newFrameReader(c, newBudget(1<<20)).next(context.Background()); err == nil {
				writeFrame(c, listOf(1, softKeys()[0].signer.PublicKey().Marshal(), "theirs"))
			}
		}
	}()
	first.Close()
	if err := listOnce(c); err != nil {
		t.Error(err)
	}
}
