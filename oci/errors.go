package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// The classes of failure.
var (
	// ErrUsage is a reference, platform or option that makes no sense.
	ErrUsage = errors.New("wrong usage")
	// ErrNotFound is an image that the registry does not have.
	ErrNotFound = errors.New("not in the registry")
	// ErrNotAttached is an image without an artifact, or without a further one,
	// of the wanted type.
	ErrNotAttached = errors.New("nothing attached")
	// ErrUnreachable is a registry that does not answer, or only that it is
	// overloaded.
	ErrUnreachable = errors.New("registry cannot be reached")
	// ErrDenied is a registry that wants other credentials.
	ErrDenied = errors.New("registry denies access")
	// ErrInvalid is an answer or a file that is not what its digest, its media
	// type or the specification say.
	ErrInvalid = errors.New("invalid content")
)

// errRefused is a request that we do not send, or an answer that we do not read.
var errRefused = errors.New("refused")

// registryError puts an error of the registry library or of the network into
// our words. It cuts the chain: the library's types stay behind our door, and
// its texts quote the registry at length.
func registryError(err error) error {
	var answer *transport.Error
	var exchange *url.Error
	var network net.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &answer):
		return answerError(answer)
	case errors.As(err, &exchange) && !errors.Is(exchange.Err, errRefused):
		return unreachable(exchange.Err)
	case errors.Is(err, errRefused):
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF):
		return unreachable(err)
	}
	return fmt.Errorf("%w: %s", ErrInvalid, said(err))
}

func unreachable(err error) error {
	wrapped := fmt.Errorf("%w: %s", ErrUnreachable, said(err))
	if errors.Is(err, http.ErrSchemeMismatch) {
		return hint.Wrap(wrapped, "plain HTTP is spoken only to registries on this machine; others need TLS")
	}
	return wrapped
}

// answerError classifies an error status.
func answerError(answer *transport.Error) error {
	text := http.StatusText(answer.StatusCode)
	if len(answer.Errors) > 0 {
		text = fmt.Sprintf("%s: %s", answer.Errors[0].Code, answer.Errors[0].Message)
	}
	err := func(class error) error {
		return fmt.Errorf("%w: status %d: %.200q", class, answer.StatusCode, text)
	}
	switch code := answer.StatusCode; {
	case code == http.StatusNotFound:
		return err(ErrNotFound)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return hint.Wrap(err(ErrDenied), "log in to the registry, for example with: docker login REGISTRY")
	case code == http.StatusTooManyRequests, code >= 500:
		return err(ErrUnreachable)
	}
	return err(ErrInvalid)
}

// said quotes a text that a registry may have written.
func said(err error) string { return fmt.Sprintf("%.200q", err.Error()) }
