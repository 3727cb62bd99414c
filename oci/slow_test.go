package oci

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// TestSlowRegistry runs in a bubble of its own time: what takes minutes here
// takes none.
func TestSlowRegistry(t *testing.T) {
	silent := func(server net.Conn) { io.Copy(io.Discard, server) }
	drip := func(server net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(server))
		if err != nil {
			return // a TLS handshake
		}
		if request.URL.Path == "/v2/" {
			io.WriteString(server, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			return
		}
		io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nConnection: close\r\n\r\n")
		for {
			time.Sleep(10 * time.Second)
			if _, err := io.WriteString(server, " "); err != nil {
				return
			}
		}
	}
	// flooded lists more referrers than there is time to open.
	flooded := func(server net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(server))
		if err != nil {
			return
		}
		head, body := "200 OK\r\nContent-Type: application/vnd.oci.image.index.v1+json", ""
		switch {
		case strings.Contains(request.URL.Path, "/referrers/"):
			var entries []string
			for i := range 1000 {
				entries = append(entries, fmt.Sprintf(`{"digest":"sha256:%064x"}`, i))
			}
			body = `{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `]}`
		case strings.Contains(request.URL.Path, "/manifests/"):
			time.Sleep(time.Second)
			head = "404 Not Found"
		}
		fmt.Fprintf(server, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", head, len(body), body)
	}
	resolve := func(c *Client) error {
		_, err := c.Resolve(context.Background(), "127.0.0.1:5000/app:v1")
		return err
	}
	push := func(c *Client) error {
		_, err := c.Push(context.Background(), "127.0.0.1:5000/app:v1", &Image{contents: []content{bytesContent("", nil)}}, nil)
		return err
	}
	search := func(c *Client) (end error) {
		repo, err := name.NewRepository("127.0.0.1:5000/app")
		if err != nil {
			return err
		}
		for _, err := range c.Attached(context.Background(), Subject{repo: repo, digest: digest(nil)}, bundleType) {
			end = err
		}
		if !strings.Contains(end.Error(), "of 1000 referrers") {
			t.Error(end)
		}
		return end
	}
	for name, test := range map[string]struct {
		serve func(net.Conn)
		call  func(*Client) error
		limit time.Duration
	}{
		"resolve, silent": {silent, resolve, limits.RegistryCall},
		"resolve, drip":   {drip, resolve, limits.RegistryCall},
		"search, flooded": {flooded, search, limits.RegistryCall},
		"push, silent":    {silent, push, limits.RegistryIdle + limits.RegistryDial},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var servers sync.WaitGroup
				defer servers.Wait()
				transport := newTransport()
				transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					servers.Go(func() {
						defer server.Close()
						test.serve(server)
					})
					return idleConn{client}, nil
				}
				client := newTestClient()
				client.transport = transport
				defer transport.CloseIdleConnections()
				start := time.Now()
				err := test.call(client)
				if took := time.Since(start); !errors.Is(err, ErrUnreachable) || took > test.limit {
					t.Errorf("%v after %v, want an end within %v", err, took, test.limit)
				}
			})
		})
	}
}
