package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// TestPlaceInVain: where nobody is answered any more, newcomers are refused without each
// of them having all behind it wait.
func TestPlaceInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &listener{server: NewServer(fuzzConfig(t)), conns: newConns(1)}
		_, server := pipe(t)
		busy := in.conns.admit(server, Peer{})
		began := time.Now()
		for range 10 {
			_, newcomer := pipe(t)
			if in.admit(newcomer, Peer{}) != nil {
				t.Error("there was a place")
			}
		}
		if took := time.Since(began); took < limits.AgentPlace || took > limits.AgentPlace+limits.AgentMoment {
			t.Errorf("ten waited %v", took)
		}
		busy.end()
		if _, newcomer := pipe(t); in.admit(newcomer, Peer{}) == nil {
			t.Error("there was no place after an answer")
		}
	})
}

// TestSlowedMakesRoom: one that has to wait and makes room for others waits no longer.
func TestSlowedMakesRoom(t *testing.T) {
	s := NewServer(fuzzConfig(t))
	s.refusals = newRate(pace{1, time.Hour}, pace{})
	s.refusals.count(0)
	s.refusals.count(0)
	c := newConns(1)
	_, server := pipe(t)
	slow := c.admit(server, Peer{})
	ended := make(chan error)
	go func() { ended <- s.slowDown(t.Context(), slow) }()
	_, newcomer := pipe(t)
	eventually(t, "room", func() bool { return c.admit(newcomer, Peer{}) != nil })
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it goes on without its connection")
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits on")
	}
}
