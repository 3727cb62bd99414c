package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// pipe returns two ends of a connection in memory, for synctest.
func pipe(t *testing.T) (a, b net.Conn) {
	t.Helper()
	a, b = net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func header(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func TestReadFrame(t *testing.T) {
	for _, c := range []struct {
		name string
		sent []byte
		err  error
	}{
		{"one byte", append(header(1), 11), nil},
		{"largest", append(header(limits.AgentFrame), make([]byte, limits.AgentFrame)...), nil},
		{"length zero", header(0), errFraming},
		{"too long", header(limits.AgentFrame + 1), errFraming},
		{"huge", header(1<<32 - 1), errFraming},
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), errFraming},
		{"nothing", nil, io.EOF},
		{"end inside the length", []byte{0, 0}, io.ErrUnexpectedEOF},
		{"end inside the message", append(header(10), 11), io.ErrUnexpectedEOF},
		{"end after the length", header(10), io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server, err := socketPair()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			go func() {
				client.Write(c.sent)
				client.Close()
			}()
			b := newBudget(limits.AgentFrames)
			f, err := newFrameReader(server, b).next(t.Context())
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("got %v, want %v", err, c.err)
			}
			if err == nil {
				if got := append([]byte{f.kind}, f.body...); !bytes.Equal(got, c.sent[4:]) {
					t.Error("message differs")
				}
				f.release()
			}
			if !b.total.TryAcquire(limits.AgentFrames) {
				t.Error("memory was not given back")
			}
		})
	}
}

// TestSlowFrames: silence between messages is free, inside one it is not.
func TestSlowFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t)
		go func() {
			time.Sleep(24 * time.Hour)
			for _, b := range append(header(2), 11, 0) {
				time.Sleep(limits.AgentFrameTime / 6)
				client.Write([]byte{b})
			}
			time.Sleep(24 * time.Hour)
			client.Write([]byte{0})
		}()
		r := newFrameReader(server, newBudget(limits.AgentFrames))
		if f, err := r.next(t.Context()); err != nil || f.kind != 11 {
			t.Fatalf("a slow message: %+v, %v", f, err)
		}
		began := time.Now()
		_, err := r.next(t.Context())
		if ne := net.Error(nil); !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("a stuck message: %v", err)
		}
		if took := time.Since(began); took != 24*time.Hour+limits.AgentFrameTime {
			t.Errorf("it took %v", took)
		}
	})
}

// TestFramesTogether: what comes in one piece, and in odd ones, is taken apart.
func TestFramesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pipe(t)
		stream := append(header(1), 1)
		stream = append(append(stream, header(3)...), 2, 'a', 'b')
		stream = append(append(stream, header(limits.AgentFreeFrame)...), 3)
		stream = append(stream, make([]byte, limits.AgentFreeFrame-1)...)
		stream = append(append(stream, header(1)...), 4)
		const half = 5 + 2 // inside the second length
		go func() {
			client.Write(stream[:half])
			time.Sleep(limits.AgentFrameTime / 2)
			client.Write(stream[half:])
		}()
		r := newFrameReader(server, newBudget(limits.AgentFrames))
		for i, size := range []int{0, 2, limits.AgentFreeFrame - 1, 0} {
			f, err := r.next(t.Context())
			if err != nil || int(f.kind) != i+1 || len(f.body) != size {
				t.Fatalf("message %d: kind %d of %d bytes, %v", i+1, f.kind, len(f.body), err)
			}
		}
	})
}

// TestBudget: announced memory is bounded, and small messages pass all the same.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(2 * limits.AgentFrame)
		var releases []func()
		for range 2 {
			release, err := b.reserve(t.Context(), limits.AgentFrame)
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		client, server := pipe(t)
		go client.Write(append(header(limits.AgentFreeFrame+1), 11))
		if _, err := newFrameReader(server, b).next(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a third large message: %v", err)
		}
		client, server = pipe(t)
		go client.Write(append(header(limits.AgentFreeFrame), make([]byte, limits.AgentFreeFrame)...))
		if _, err := newFrameReader(server, b).next(t.Context()); err != nil {
			t.Errorf("a small message: %v", err)
		}
		releases[0]()
		if _, err := b.reserve(t.Context(), limits.AgentFrame); err != nil {
			t.Errorf("after one was given back: %v", err)
		}
	})
}

// TestWriteFrame: a client that does not read does not keep us.
func TestWriteFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, server := pipe(t)
		err := writeFrame(server, []byte{6})
		if ne := net.Error(nil); !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("got %v", err)
		}
	})
}

// TestBadFrames: a connection that misbehaves is closed, and only that one.
func TestBadFrames(t *testing.T) {
	h := start(t, nil)
	good, _ := h.dialSSH()
	for name, message := range map[string][]byte{
		"length zero":           header(0),
		"too long":              header(limits.AgentFrame + 1),
		"malformed list":        append(header(2), 11, 0),
		"malformed sign":        append(header(3), 13, 0, 0),
		"malformed extension":   append(header(6), 27, 0, 0, 0, 9, 'x'),
		"sign with extra bytes": append(header(14), 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
	} {
		conn, err := net.Dial("unix", h.ssh)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write(message); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: read %d bytes, %v; want the end", name, n, err)
		}
		conn.Close()
	}
	if _, err := good.List(); err != nil {
		t.Errorf("another connection: %v", err)
	}
}

// FuzzFrames feeds a whole stream to a connection: it must end, and every message
// before the end must have one answer of bounded size.
func FuzzFrames(f *testing.F) {
	f.Add(append(header(1), 11))
	f.Add(append(append(header(1), 11), append(header(1), 99)...))
	f.Add(append(header(14), 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(append(header(13), 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(append(header(10), 27, 0, 0, 0, 5, 'q', 'u', 'e', 'r', 'y'))
	f.Add(header(0))
	f.Fuzz(func(t *testing.T, stream []byte) {
		s := NewServer(fuzzConfig(t))
		s.refusals = nil // fuzzing is fast
		client, server, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		c := conns{max: 1}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.serveSSHConn(c.admit(server, Peer{}))
		}()
		go func() {
			client.Write(stream)
			client.(*net.UnixConn).CloseWrite()
		}()
		sent := 0
		for rest := stream; len(rest) > 4; sent++ {
			n := int(binary.BigEndian.Uint32(rest))
			if n == 0 || n > len(rest)-4 {
				break
			}
			rest = rest[4+n:]
		}
		r := newFrameReader(client, newBudget(1<<20))
		for answers := 0; ; answers++ {
			a, err := r.next(t.Context())
			if err != nil {
				break
			}
			if answers >= sent {
				t.Fatalf("%d messages, answer %d is %d %x", sent, answers, a.kind, a.body)
			}
		}
		<-done
	})
}

// TestReleaseClears: what nobody answered may hold a secret too.
func TestReleaseClears(t *testing.T) {
	ours, theirs := pipe(t)
	go writeFrame(theirs, []byte("xsecret"))
	f, err := newFrameReader(ours, newBudget(limits.AgentFrames)).next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.release()
	if !bytes.Equal(f.body, make([]byte, len("secret"))) {
		t.Errorf("a message that was given back holds %q", f.body)
	}
}
