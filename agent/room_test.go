package agent

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/sockets"
	"github.com/sealsmith/sealsmith/internal/testenv"
	"github.com/sealsmith/sealsmith/key"
)

func TestRoom(t *testing.T) {
	all := room{limits.AgentConnections, limits.AgentConnections, limits.UpstreamConnections}
	for allowed, want := range map[uint64]room{
		0: {1, 1, 1}, 32: {1, 1, 1}, 64: {16, 8, 8}, 1024: {496, 248, 248}, 4096: {1024, 1016, 256}, 1 << 20: all, 1<<64 - 1: all,
	} {
		if got := roomWithin(allowed); got != want {
			t.Errorf("with %d descriptors: %+v, want %+v", allowed, got, want)
		}
	}
}

// TestCrowd: where there is room for two at once, a crowd is served all the same, whether
// they leave or stay.
func TestCrowd(t *testing.T) {
	h := start(t, nil)
	h.key(key.Spec{Name: "k", Usage: key.SSH})
	path := filepath.Join(testenv.SocketDir(t), "s")
	l, err := sockets.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	in := &listener{Listener: l, server: h.server, conns: newConns(2)}
	var serving, crowd sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := in.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { h.server.serveSSHConn(nc.(*conn)) })
		}
	})
	begun := time.Now()
	done := make(chan struct{})
	for i := range 60 {
		crowd.Go(func() {
			c, err := net.Dial("unix", path)
			if err == nil {
				defer c.Close()
				c.SetDeadline(begun.Add(20 * time.Second))
				err = listOnce(c)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
			if i%10 == 0 {
				<-done
			}
		})
	}
	time.AfterFunc(3*limits.AgentMoment, func() { close(done) })
	crowd.Wait()
	l.Close()
	in.conns.closeIdle()
	serving.Wait()
}

// listOnce asks for the keys and wants one.
func listOnce(c net.Conn) error {
	if err := writeFrame(c, []byte{agentRequestIdentities}); err != nil {
		return err
	}
	f, err := newFrameReader(c, newBudget(1<<20)).next(context.Background())
	if err != nil {
		return err
	}
	if all, err := parseIdentities(f); err != nil || len(all) != 1 {
		return fmt.Errorf("%d keys: %w", len(all), err)
	}
	return nil
}
