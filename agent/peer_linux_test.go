package agent

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/peercred"
	"github.com/sealsmith/sealsmith/internal/sockets"
)

// TestPeerOfQuestion: who asks can be followed for as long as it is connected.
func TestPeerOfQuestion(t *testing.T) {
	nc, file, err := sockets.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p, err := peerOf(nc)
	if err != nil {
		t.Fatal(err)
	}
	q := Request{Peer: p}.question("")
	if q.Peer != p || q.Peer.PID != os.Getpid() {
		t.Errorf("%+v", q.Peer)
	}
	_, err = peercred.ProcessOf(nc)
	process, connected := q.Peer.Process()
	if old := errors.Is(err, syscall.ENOPROTOOPT); old != (process == nil) || connected <= 0 || connected > time.Minute {
		t.Errorf("%v, %v; %v", process, connected, err)
	}
	if process != nil {
		process.Close()
	}
	nc.Close()
	if process, _ := q.Peer.Process(); process != nil {
		t.Error("a connection that has ended has a process")
	}
	if process, connected := (Peer{PID: 1}).Process(); process != nil || connected != 0 {
		t.Errorf("unknown peer: %v, %v", process, connected)
	}
}
