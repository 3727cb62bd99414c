package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/key"
)

// FuzzControl sends a request to the control API: whatever it is, the answer is one,
// in JSON, and no handler panics. ID stands for that of a key in the path and the body.
func FuzzControl(f *testing.F) {
	for _, seed := range []struct{ method, path, body string }{
		{"GET", "/v1/status", ""},
		{"GET", "/v1/keys", ""},
		{"GET", "/v1/device", ""},
		{"POST", "/v1/keys", `{"name":"new","usage":"ssh","algorithm":"p256","pin":"none"}`},
		{"POST", "/v1/keys/import", `{"name":"new","secret":"x"}`},
		{"POST", "/v1/keys/ID/sign", `{"form":"blob","message":"YQ=="}`},
		{"POST", "/v1/keys/ID/sign", `{"form":"digest","hash":"sha256","scheme":"ecdsa","digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`},
		{"POST", "/v1/keys/ID/attest", `{"nonce":"YQ=="}`},
		{"POST", "/v1/keys/ID/pin", `{"old":"none","new":"none"}`},
		{"POST", "/v1/keys/ID/unlock", `{"pin":"prompt"}`},
		{"POST", "/v1/device/answer", `{"challenge":"YQ=="}`},
		{"POST", "/v1/device/pin", `{"ek_certificate":"ff"}`},
		{"POST", "/v1/lock", `{}`},
		{"POST", "/v1/unlock", `{}`},
		{"POST", "/v1/reload", ""},
		{"POST", "/v1/secrets", "1234"},
		{"DELETE", "/v1/keys/ID", ""},
		{"PUT", "/v2/", "\x00"},
	} {
		f.Add(seed.method, seed.path, seed.body == "1234", seed.body)
	}
	f.Fuzz(func(t *testing.T, method, path string, octets bool, body string) {
		logs := &lockedBuffer{}
		c := fuzzConfig(t)
		c.Device, c.Log = fakeDevice{}, slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
		made, err := c.Keys.Create(t.Context(), key.Spec{Name: "k", Usage: key.Digest, Algorithm: key.P256, Unattended: true})
		if err != nil {
			t.Fatal(err)
		}
		s := NewServer(c)
		s.refusals = nil // fuzzing is fast
		defer s.Shutdown(t.Context())
		contentType := "application/json"
		if octets {
			contentType = "application/octet-stream"
		}
		withID := strings.NewReplacer("ID", string(made.Info().ID))
		path, body = withID.Replace(path), withID.Replace(body)
		answer := s.exchange(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: agent\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			method, path, contentType, len(body), body))
		// What is no HTTP is answered by package http.
		if answer != nil && answer.Header.Get("Content-Type") == "application/json" {
			if data, err := io.ReadAll(answer.Body); err != nil || !json.Valid(data) {
				t.Errorf("answer %q, %v", data, err)
			}
		}
		if text := logs.String(); strings.Contains(text, "panic") {
			t.Errorf("%s", text)
		}
	})
}

// exchange serves one connection, on which a client sends the request and reads one
// answer; nil: there is none.
func (s *Server) exchange(t *testing.T, request string) *http.Response {
	t.Helper()
	client, server, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	places := conns{max: 1}
	h := s.controlServer()
	l := &oneConn{conns: make(chan net.Conn, 1)}
	l.conns <- places.admit(server, Peer{})
	served := make(chan struct{})
	go func() { defer close(served); h.Serve(l) }()
	t.Cleanup(func() { client.Close(); h.Close(); <-served })
	go io.WriteString(client, request)
	// The server may wait for more of a body than there is.
	client.SetReadDeadline(time.Now().Add(time.Second))
	answer, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		return nil
	}
	return answer
}

// oneConn is a listener with a connection.
type oneConn struct{ conns chan net.Conn }

// Accept implements [net.Listener].
func (l *oneConn) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

// Close implements [net.Listener].
func (l *oneConn) Close() error { close(l.conns); return nil }

// Addr implements [net.Listener].
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "test", Net: "unix"} }
