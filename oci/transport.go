package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// newTransport makes the connections of a client.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: limits.RegistryDial}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return idleConn{conn}, nil
		},
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    limits.RegistryDial,
		MaxResponseHeaderBytes: limits.OCIResponseHeader,
		MaxIdleConnsPerHost:    limits.OCIUploads,
		IdleConnTimeout:        limits.RegistryIdle,
		// A compressed answer could be small on the wire and large here.
		DisableCompression: true,
	}
}

// idleConn fails when nothing moves in either direction for a while. A total
// time would end honest uploads of large layers.
type idleConn struct{ net.Conn }

func (c idleConn) Read(p []byte) (int, error) {
	c.SetDeadline(time.Now().Add(limits.RegistryIdle))
	return c.Conn.Read(p)
}

func (c idleConn) Write(p []byte) (int, error) {
	// Also extends the deadline of a Read that waits for the answer.
	c.SetDeadline(time.Now().Add(limits.RegistryIdle))
	return c.Conn.Write(p)
}

// guard stands between the registry library and the network and enforces what
// the library leaves open: plain HTTP only within loopback, few redirects,
// bounded answers, and patience with a registry that asks for it.
type guard struct {
	next     http.RoundTripper
	loopback bool // the registry is on this machine
	wait     func() backoff.BackOff
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	err := g.check(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	resp, err := g.send(r)
	if err != nil {
		return nil, err
	}
	if r.Method != http.MethodHead {
		if resp.ContentLength > limits.OCIResponse {
			resp.Body.Close()
			return nil, fmt.Errorf("%w: answer of %d bytes", errRefused, resp.ContentLength)
		}
		resp.Body = &boundedBody{resp.Body, limits.OCIResponse}
	}
	return resp, nil
}

// check refuses a request, most often one that a registry sent us to make.
func (g *guard) check(r *http.Request) error {
	if r.URL.Scheme != "https" && !(r.URL.Scheme == "http" && g.loopback && isLoopback(r.URL.Host)) {
		return fmt.Errorf("%w: plain HTTP to %.80q", errRefused, r.URL.Host)
	}
	redirects := 0
	for from := r.Response; from != nil && from.Request != nil; from = from.Request.Response {
		if redirects++; redirects > limits.OCIRedirects {
			return fmt.Errorf("%w: more than %d redirects", errRefused, limits.OCIRedirects)
		}
	}
	return nil
}

// send sends the request, again if the registry could not serve it and sending
// it twice does no harm.
func (g *guard) send(r *http.Request) (*http.Response, error) {
	if !repeatable(r) {
		return g.next.RoundTrip(r)
	}
	var last *http.Response
	first := true
	_, err := backoff.Retry(r.Context(), func() (struct{}, error) {
		if last != nil {
			last.Body.Close()
			last = nil
		}
		attempt := r
		if !first && r.GetBody != nil {
			body, err := r.GetBody()
			if err != nil {
				return struct{}{}, backoff.Permanent(err)
			}
			attempt = r.Clone(r.Context())
			attempt.Body = body
		}
		first = false
		resp, err := g.next.RoundTrip(attempt)
		if err != nil {
			return struct{}{}, retryError(err)
		}
		last = resp
		return struct{}{}, retryAnswer(resp)
	}, backoff.WithBackOff(g.wait()), backoff.WithMaxTries(limits.RegistryTries))
	switch {
	case last == nil:
		return nil, err
	case err != nil && r.Context().Err() != nil: // canceled while it waited
		last.Body.Close()
		return nil, err
	}
	return last, nil // an error status, too, is an answer
}

// repeatable: the parts of an upload are not, because a registry may have stored
// some of them; the library starts such an upload anew.
func repeatable(r *http.Request) bool {
	return r.Method != http.MethodPatch && (r.Body == nil || r.Body == http.NoBody || r.GetBody != nil)
}

// retryError marks as final what another try would not mend.
func retryError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	return backoff.Permanent(err)
}

// retryAnswer is an error if the registry could not serve the request now: the
// wait that it asks for, if that is bearable.
func retryAnswer(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return nil
	}
	err := errors.New(http.StatusText(resp.StatusCode))
	after := resp.Header.Get("Retry-After")
	if after == "" {
		return err
	}
	wait := time.Duration(-1)
	if seconds, err := strconv.Atoi(after); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(after); err == nil {
		wait = max(0, time.Until(at))
	}
	if wait < 0 || wait > limits.RegistryRetryAfter {
		return backoff.Permanent(err)
	}
	return &backoff.RetryAfterError{Duration: wait}
}

// boundedBody fails, rather than ends, at its limit.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: answer of more than %d bytes", errRefused, limits.OCIResponse)
	}
	return n, err
}

// isLoopback says whether host[:port] is this machine by its spelling; names
// other than localhost could mean any machine.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
