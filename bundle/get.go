package bundle

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// newClient makes a client that speaks https only. It keeps no cookies and
// sends no credentials.
func (j *job) newClient() *http.Client {
	return &http.Client{
		CheckRedirect: j.checkRedirect,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{RootCAs: j.RootCAs, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    limits.BundleWorkersPerHost,
			MaxResponseHeaderBytes: limits.BundleHeader,
			HTTP2: &http.HTTP2Config{
				// What a site may send before we read it.
				MaxReceiveBufferPerStream:     limits.BundleCertificate,
				MaxReceiveBufferPerConnection: limits.BundleCertificate * limits.BundleWorkersPerHost,
			},
		},
	}
}

// redirectError is a redirect that we do not follow.
type redirectError struct{ reason string }

func (e *redirectError) Error() string { return e.reason }

// checkRedirect keeps a site from sending us where the catalog does not point:
// to a stranger, or into the network we stand in.
func (j *job) checkRedirect(r *http.Request, via []*http.Request) error {
	target := quote(r.URL.Redacted())
	j.answered(j.hosts[siteOf(via[len(via)-1].URL)])
	switch {
	case r.URL.Scheme != "https":
		return &redirectError{fmt.Sprintf("redirects to %s, which is not https", target)}
	case r.URL.User != nil:
		return &redirectError{fmt.Sprintf("redirects to %s, a URL with credentials", target)}
	case j.hosts[siteOf(r.URL)] == nil:
		return &redirectError{fmt.Sprintf("redirects to %s, a host that the catalog does not list", target)}
	case len(via) > limits.BundleRedirects:
		return &redirectError{fmt.Sprintf("redirects more than %d times", limits.BundleRedirects)}
	}
	return nil
}

// errTimeout is a site that is too slow.
var errTimeout = errors.New("no answer in time")

// get makes one request. Errors that another try cannot mend are
// [backoff.PermanentError]s.
func (j *job) get(ctx context.Context, address string, h *host) (body []byte, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, j.pace.attempt,
		fmt.Errorf("%w: not done after %v", errTimeout, j.pace.attempt))
	defer cancel()
	ctx, cancelCause := context.WithCancelCause(ctx)
	defer cancelCause(nil)
	stall := time.AfterFunc(j.pace.stall, func() {
		cancelCause(fmt.Errorf("%w: nothing came for %v", errTimeout, j.pace.stall))
	})
	defer stall.Stop()
	defer func() {
		// The client says only "context canceled"; the cause says why. A server
		// that is hung up on may end its answer, so even no error proves nothing.
		if cause := context.Cause(ctx); cause != nil {
			body, err = nil, cause
		}
	}()

	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { j.connected(h) }}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, address, nil)
	if err != nil {
		return nil, backoff.Permanent(err)
	}
	request.Header.Set("User-Agent", "sealsmith")
	answer, err := j.client.Do(request)
	if err != nil {
		return nil, judge(err)
	}
	defer answer.Body.Close()
	j.answered(h)
	if err := j.checkStatus(answer); err != nil {
		return nil, err
	}
	return readBody(answer, func() { stall.Reset(j.pace.stall) })
}

// readBody reads to the end or to the limit, which counts decompressed bytes.
func readBody(answer *http.Response, progress func()) ([]byte, error) {
	tooLong := backoff.Permanent(fmt.Errorf("more than %d bytes came", limits.BundleCertificate))
	if answer.ContentLength > limits.BundleCertificate {
		return nil, tooLong
	}
	body, err := io.ReadAll(io.LimitReader(progressReader{answer.Body, progress}, limits.BundleCertificate+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer broke off after %d bytes: %w", len(body), err)
	case len(body) > limits.BundleCertificate:
		return nil, tooLong
	}
	return body, nil
}

// progressReader reports each read that brought something.
type progressReader struct {
	io.Reader
	progress func()
}

func (r progressReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if n > 0 {
		r.progress()
	}
	return n, err
}

// noWayError says that a site cannot be looked up, or that no network leads to it.
type noWayError struct{ error }

// Unwrap gives errors.Is and hint.Of what happened.
func (e *noWayError) Unwrap() error { return e.error }

// judge decides whether an error of the client is worth another try. What the
// server did (a reset, a cut connection) is; that there is no server, or the
// wrong one, is not.
func judge(err error) error {
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err // without the URL, which the failure names
	}
	if _, ok := errors.AsType[*redirectError](err); ok {
		return backoff.Permanent(err)
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok || errors.Is(err, syscall.ENETUNREACH) {
		err = hint.Wrap(err, "what is in a certificate store needs no network: sealsmith bundle build --store DIR --offline")
		return backoff.Permanent(&noWayError{err})
	}
	op, isOp := errors.AsType[*net.OpError](err)
	_, isCert := errors.AsType[*tls.CertificateVerificationError](err)
	_, isPlain := errors.AsType[tls.RecordHeaderError](err)
	if isOp && slices.Contains([]string{"dial", "proxyconnect", "remote error"}, op.Op) || isCert || isPlain {
		return backoff.Permanent(err)
	}
	return fmt.Errorf("no answer: %w", err)
}

// checkStatus lets only 200 pass and tells when trying again makes sense.
func (j *job) checkStatus(answer *http.Response) error {
	code := answer.StatusCode
	// The server's own text for the code is not repeated.
	status := fmt.Errorf("status %d %s", code, http.StatusText(code))
	switch code {
	case http.StatusOK:
		return nil
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		wait, told := retryAfter(answer.Header.Get("Retry-After"), time.Now())
		switch {
		case told && wait > j.pace.retryAfter:
			return backoff.Permanent(fmt.Errorf("%w: asks to come back after %v, longer than %v", status, wait, j.pace.retryAfter))
		case told:
			return fmt.Errorf("%w: %w", status, &backoff.RetryAfterError{Duration: wait})
		}
		return status
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return status
	}
	return backoff.Permanent(status)
}

// retryAfter reads the header of that name: seconds or a date (RFC 9110,
// 10.2.3). A date that is past means now.
func retryAfter(header string, now time.Time) (wait time.Duration, ok bool) {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if t, err := http.ParseTime(header); err == nil {
		return max(t.Sub(now), 0), true
	}
	return 0, false
}
