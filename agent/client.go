package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// Client speaks the control API. It is safe for concurrent use. Errors of the
// agent have the classes of package key, and its hints.
type Client struct {
	http  *http.Client
	close func() error
}

// Dial connects to the agent's control socket. The error wraps [ErrNoAgent] if
// nobody serves it, and [key.ErrBusy] if there is no answer. A socket that a
// stranger serves is refused.
func Dial(ctx context.Context, socket string) (*Client, error) {
	return dial(ctx, socket, limits.AgentDial)
}

func dial(ctx context.Context, socket string, limit time.Duration) (*Client, error) {
	c := newClient(func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		conn, err := dialUnix(ctx, socket)
		if err != nil {
			return nil, err
		}
		if _, err := peerOf(conn); err != nil {
			conn.Close()
			return nil, fmt.Errorf("agent at %s: %w", socket, err)
		}
		return conn, nil
	}, func() error { return nil })
	silent := fmt.Errorf("no answer within %v: %w", limit, key.ErrBusy)
	asking, cancel := context.WithTimeoutCause(ctx, limit, silent)
	defer cancel()
	if _, err := c.Status(asking); err != nil {
		c.Close()
		if cause := context.Cause(asking); ctx.Err() == nil && cause != nil {
			return nil, hint.Wrap(fmt.Errorf("agent at %s: %w", socket, cause), "it may be stopped or hang: end it and start it anew")
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			err = fmt.Errorf("%w at %s", ErrNoAgent, socket)
		}
		return nil, err
	}
	return c, nil
}

func newClient(dial func(ctx context.Context) (net.Conn, error), close func() error) *Client {
	return &Client{close: close, http: &http.Client{
		Transport: &http.Transport{
			DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			DisableCompression:  true,
			MaxIdleConnsPerHost: limits.AgentIdleConns,
			IdleConnTimeout:     limits.ControlIdle / 2,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("the agent redirects") },
	}}
}

// Close closes the connections, and the server of [InProcess].
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return c.close()
}

// Device describes the agent's device, which it may have to open for that.
func (c *Client) Device(ctx context.Context) (DeviceStatus, error) {
	var d DeviceStatus
	err := c.call(ctx, "GET", "/v1/device", nil, &d)
	return d, err
}

// List returns the keys that can be listed, and the errors of the others joined.
func (c *Client) List(ctx context.Context) ([]key.Info, error) {
	return key.NewRing(remoteBackend{c}).List(ctx)
}

// Resolve finds the key that a reference names, like [key.Ring.Resolve].
func (c *Client) Resolve(ctx context.Context, ref key.Ref) (key.Info, error) {
	s, err := key.NewRing(remoteBackend{c}).Resolve(ctx, ref)
	if err != nil {
		return key.Info{}, err
	}
	return s.Info(), nil
}

// Create makes a key. Its PIN, if the spec has one, is handed over.
func (c *Client) Create(ctx context.Context, s key.Spec) (key.Info, error) {
	if s.PIN == nil {
		return c.create(ctx, s, pinNone, "")
	}
	name, err := c.handOver(ctx, s.PIN)
	if err != nil {
		return key.Info{}, err
	}
	return c.create(ctx, s, pinSecret, name)
}

// handOver sends a PIN ahead of the request that uses it, and returns its name.
func (c *Client) handOver(ctx context.Context, pin key.LendFunc) (name string, err error) {
	var answer secretAnswer
	err = pin(ctx, func(secret []byte) error {
		body := &secretBody{all: bytes.Clone(secret)}
		return c.do(ctx, "POST", "/v1/secrets", "application/octet-stream", body, int64(len(secret)), &answer)
	})
	return answer.Secret, err
}

// CreateWithPrompt makes a key whose PIN the agent asks for; the spec's own PIN
// is not used.
func (c *Client) CreateWithPrompt(ctx context.Context, s key.Spec) (key.Info, error) {
	return c.create(ctx, s, pinPrompt, "")
}

func (c *Client) create(ctx context.Context, s key.Spec, pin pinSource, secret string) (key.Info, error) {
	var answer keyAnswer
	err := c.call(ctx, "POST", "/v1/keys", createRequest{
		Name: s.Name, Usage: string(s.Usage), Algorithm: string(s.Algorithm), Comment: s.Comment,
		Unattended: s.Unattended, PIN: pin, Secret: secret,
	}, &answer)
	if err != nil {
		return key.Info{}, err
	}
	return answer.info()
}

// Delete removes a key for ever: the one that was listed with this ID and
// reference.
func (c *Client) Delete(ctx context.Context, in key.Info) error {
	return c.call(ctx, "DELETE", "/v1/keys/"+string(in.ID)+"?ref="+url.QueryEscape(in.Ref.String()), nil, &struct{}{})
}

// call sends a request with a JSON body, unless it is nil, and decodes the answer.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	if body == nil {
		return c.do(ctx, method, path, "", nil, 0, answer)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.do(ctx, method, path, "application/json", bytes.NewReader(data), int64(len(data)), answer)
}

func (c *Client) do(ctx context.Context, method, path, contentType string, body io.Reader, length int64, answer any) error {
	// The host has no meaning on a unix socket.
	r, err := http.NewRequestWithContext(ctx, method, "http://sealsmith"+path, body)
	if err != nil {
		return err
	}
	r.ContentLength = length
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("agent: %w", errors.Unwrap(err)) // without the meaningless URL
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, limits.ControlBody+1))
	if err != nil {
		return fmt.Errorf("agent's answer: %w", err)
	}
	if len(data) > limits.ControlBody {
		return fmt.Errorf("agent's answer has more than %d bytes", limits.ControlBody)
	}
	if response.StatusCode/100 == 2 {
		if err := json.Unmarshal(data, answer); err != nil {
			return fmt.Errorf("agent's answer: %w", err)
		}
		return nil
	}
	var e errorAnswer
	if err := json.Unmarshal(data, &e); err != nil || e.Error.Code == "" {
		return fmt.Errorf("agent answers with status %d", response.StatusCode)
	}
	return e.Error.decode()
}

// secretBody is a request body that wipes itself when the transport has done with
// it. The transport may read after a request was given up, so the body must not
// be lent memory.
type secretBody struct {
	mu   sync.Mutex
	all  []byte
	read int
}

// Read implements [io.Reader].
func (b *secretBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.read == len(b.all) {
		return 0, io.EOF
	}
	n := copy(p, b.all[b.read:])
	b.read += n
	return n, nil
}

// Close implements [io.Closer].
func (b *secretBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.all)
	b.read = len(b.all)
	return nil
}

// remoteBackend lends the client to a [key.Ring], which knows how references are
// resolved.
type remoteBackend struct{ c *Client }

// Name implements [key.Backend].
func (remoteBackend) Name() string { return "agent" }

// Close implements [key.Backend].
func (remoteBackend) Close() error { return nil }

// Keys implements [key.Backend].
func (b remoteBackend) Keys(ctx context.Context) iter.Seq2[key.Signer, error] {
	return func(yield func(key.Signer, error) bool) {
		var answer listAnswer
		if err := b.c.call(ctx, "GET", "/v1/keys", nil, &answer); err != nil {
			yield(nil, err)
			return
		}
		for _, k := range answer.Keys {
			in, err := k.info()
			var s key.Signer
			if err == nil {
				s = &remoteSigner{remoteKey{b.c, in, ""}}
			}
			if !yield(s, err) {
				return
			}
		}
		for _, e := range answer.Errors {
			if !yield(nil, e.decode()) {
				return
			}
		}
	}
}
