package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// TestConns: who has to make room, in order; nobody who waits for an answer.
func TestConns(t *testing.T) {
	c := conns{max: 3}
	open := func() (*conn, net.Conn) {
		client, server := pipe(t)
		n := c.admit(server, Peer{})
		if n != nil {
			n.end()
		}
		return n, client
	}
	closed := func(client net.Conn) bool {
		client.SetReadDeadline(time.Now())
		_, err := client.Read(make([]byte, 1))
		return err == io.EOF
	}
	first, firstClient := open()
	second, secondClient := open()
	third, thirdClient := open()
	first.begin()
	second.begin()
	second.end()
	fourth, _ := open()
	if fourth == nil || !closed(thirdClient) || closed(firstClient) || closed(secondClient) {
		t.Error("it was not the one that never spoke that made room")
	}
	fifth, fifthClient := open()
	if fifth == nil || !closed(secondClient) || closed(firstClient) {
		t.Error("it was not the one that spoke last that made room")
	}
	fourth.begin()
	fifth.begin()
	if n, _ := open(); n != nil || closed(firstClient) {
		t.Error("one that waits for an answer made room")
	}
	fifth.end()
	first.end()
	if n, _ := open(); n == nil || !closed(fifthClient) || closed(firstClient) {
		t.Error("it was not the one with the oldest answer that made room")
	}
	// What is gone gives nothing back a second time.
	for _, n := range []*conn{second, third, third, fifth} {
		n.Close()
	}
	second.begin()
	second.end()
	if c.count != 3 || c.idle.Len() != 2 {
		t.Errorf("%d open, %d idle", c.count, c.idle.Len())
	}
	c.closeIdle()
	if !closed(firstClient) || c.count != 1 || c.idle.Len() != 0 {
		t.Errorf("%d open, %d idle", c.count, c.idle.Len())
	}
}

func TestAdmitted(t *testing.T) {
	for _, c := range []struct {
		peer, own int
		want      bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {1000, 0, false}, {0, 0, true}} {
		if got := admitted(c.peer, c.own); got != c.want {
			t.Errorf("uid %d at an agent of uid %d: %v", c.peer, c.own, got)
		}
	}
}

// serveOne has the control server serve one connection of c.
func (s *Server) serveOne(t *testing.T, c *conns, nc net.Conn) {
	t.Helper()
	l := &pairListener{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	l.conns <- c.admit(nc, Peer{})
	h := s.controlServer()
	go h.Serve(l)
	t.Cleanup(func() { h.Close() })
}

// TestIdleMakesRoom goes through the servers: a connection can be put out before
// and after a request, and not during one.
func TestIdleMakesRoom(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	h := start(t, func(c *Config) {
		c.Rules = map[key.ID]Rule{}
		c.Device = fakeDevice{func() { asked <- struct{}{}; <-answer }}
	})
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	h.server.config.Rules[in.ID] = Rule{Confirm: true}
	h.person.confirm = func(context.Context, Question) error { asked <- struct{}{}; <-answer; return nil }
	for name, x := range map[string]struct {
		serve   func(c *conns, nc net.Conn)
		request func(client net.Conn) // sends a request, and reads the answer
	}{
		"ssh": {
			func(c *conns, nc net.Conn) { go h.server.serveSSHConn(c.admit(nc, Peer{})) },
			func(client net.Conn) {
				request := ssh.Marshal(signRequest{Key: sshKey(t, in).Marshal(), Data: sshsigData(t, "git")})
				if got := exchange(t, client, append([]byte{agentSignRequest}, request...)); got[0] != agentSignResponse {
					t.Errorf("answered by %x", got)
				}
			},
		},
		"control": {
			func(c *conns, nc net.Conn) { h.server.serveOne(t, c, nc) },
			func(client net.Conn) {
				io.WriteString(client, "GET /v1/device HTTP/1.1\r\nHost: x\r\n\r\n")
				r, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err != nil || r.StatusCode != http.StatusOK {
					t.Errorf("answered by %+v, %v", r, err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			client, server, err := socketPair()
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			c := &conns{max: 1}
			x.serve(c, server)
			done := make(chan struct{})
			go func() { defer close(done); x.request(client) }()
			<-asked
			_, other := pipe(t)
			if c.admit(other, Peer{}) != nil {
				t.Error("the connection was put out during its request")
			}
			answer <- struct{}{}
			<-done
			eventually(t, "room", func() bool { return c.admit(other, Peer{}) != nil })
			if _, err := client.Read(make([]byte, 1)); err == nil {
				t.Error("the connection is still open")
			}
		})
	}
}

// TestBodyThatNeverComes: nobody holds a connection by announcing a body.
func TestBodyThatNeverComes(t *testing.T) {
	const body = limits.ControlBodyTime
	for request, times := range map[string][2]time.Duration{ // to the answer and to the end
		"GET /v1/status":                  {0, 0},
		"GET /v1/status\r\nOrigin: x\r\n": {0, 0},
		"GET /nothing":                    {0, 0},
		"DELETE /v1/keys/x":               {0, 0},
		"POST /nothing":                   {0, body},
		"POST /v1/keys":                   {0, body}, // without a content type
		"POST /v1/keys\r\nOrigin: x\r\n":  {0, body},
		"POST /v1/keys\r\nContent-Type: application/json\r\n":            {body, body},
		"POST /v1/secrets\r\nContent-Type: application/octet-stream\r\n": {body, body},
	} {
		t.Run(request, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := pipe(t)
				s := NewServer(fuzzConfig(t))
				s.serveOne(t, &conns{max: 1}, server)
				began := time.Now()
				line, header, _ := strings.Cut(request, "\r\n")
				io.WriteString(client, line+" HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"+header+"\r\n")
				in := bufio.NewReader(client)
				r, err := http.ReadResponse(in, nil)
				if err != nil || r.StatusCode < 400 {
					t.Fatalf("answered by %+v, %v", r, err)
				}
				if took := time.Since(began); took > times[0] {
					t.Errorf("the answer took %v", took)
				}
				io.Copy(io.Discard, r.Body)
				if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
					t.Errorf("after the answer: %v", err)
				}
				// net/http lingers for half a second.
				if took := time.Since(began); took > times[1]+time.Second {
					t.Errorf("the connection was held for %v", took)
				}
			})
		})
	}
}
