package agent

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// TestWatch: a prompt ends with its client, whatever that sent before it went; what
// it sends meanwhile is answered later.
func TestWatch(t *testing.T) {
	asked, answer, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	h := start(t, func(c *Config) { c.Rules = map[key.ID]Rule{} })
	in := h.key(key.Spec{Name: "k", Usage: key.SSH})
	h.server.config.Rules[in.ID] = Rule{Confirm: true}
	h.person.confirm = func(ctx context.Context, _ Question) error {
		asked <- struct{}{}
		select {
		case <-answer:
			return nil
		case <-ctx.Done():
			ended <- struct{}{}
			return context.Cause(ctx)
		}
	}
	sign := append([]byte{agentSignRequest}, ssh.Marshal(signRequest{Key: sshKey(t, in).Marshal(), Data: sshsigData(t, "git")})...)
	send := func(conn net.Conn, messages ...[]byte) {
		for _, m := range messages {
			if err := writeFrame(conn, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	list := []byte{agentRequestIdentities}
	dial := func() net.Conn {
		conn, err := net.Dial("unix", h.ssh)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}

	conn := dial()
	send(conn, sign)
	<-asked
	time.Sleep(limits.AgentWatch) // now it is watched
	send(conn, list, list)
	answer <- struct{}{}
	r := newFrameReader(conn, newBudget(1<<20))
	for i, want := range []byte{agentSignResponse, agentIdentitiesAnswer, agentIdentitiesAnswer} {
		if f, err := r.next(t.Context()); err != nil || f.kind != want {
			t.Fatalf("answer %d is %d, %v", i, f.kind, err)
		}
	}

	for name, messages := range map[string][][]byte{
		"nothing more":            {sign},
		"more messages":           {sign, list, sign, list},
		"more than is read ahead": {sign, make([]byte, 2*limits.AgentBuffer), sign},
	} {
		conn := dial()
		send(conn, messages...)
		<-asked
		conn.Close()
		select {
		case <-ended:
		case <-time.After(10 * limits.AgentWatch):
			t.Errorf("%s: the prompt outlived its client", name)
			answer <- struct{}{}
		}
	}
}

// TestClearsAhead: what was read ahead and not answered may be a secret.
func TestClearsAhead(t *testing.T) {
	client, server, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := writeFrame(client, []byte("xsecret")); err != nil {
		t.Fatal(err)
	}
	client.Close()
	r := newFrameReader(server, newBudget(limits.AgentFrames))
	if !r.ended() {
		t.Error("the end was not seen")
	}
	ahead, _ := r.in.Peek(r.in.Buffered())
	if string(ahead[headerSize:]) != "xsecret" {
		t.Errorf("read %q", ahead)
	}
	r.clear()
	if string(ahead) != string(make([]byte, len(ahead))) {
		t.Errorf("it holds %q", ahead)
	}
}
