package tpm

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
)

// endingContext is cancelled, and ends the device at the moment when that is seen.
type endingContext struct {
	context.Context
	close context.CancelFunc
}

func (c endingContext) Err() error {
	c.close()
	return context.Canceled
}

// unused is a connection that nothing may be sent over.
type unused struct{ t *testing.T }

func (u unused) Read([]byte) (int, error)    { u.t.Error("read"); return 0, errors.New("read") }
func (u unused) Write([]byte) (int, error)   { u.t.Error("write"); return 0, errors.New("write") }
func (u unused) Close() error                { u.t.Error("closed"); return nil }
func (u unused) SetDeadline(time.Time) error { return nil }

// TestSessionsAreForgotten: the secret of a session ends with it.
func TestSessionsAreForgotten(t *testing.T) {
	for name, end := range map[string]func(*chip){
		"flushed": (*chip).flushAll,
		"lost":    func(c *chip) { c.lose(errors.New("lost")) },
	} {
		c := newChip(target{}, Options{Log: slog.New(slog.DiscardHandler)}, context.Background(), context.Background())
		secret := []byte("of the session")
		c.ctx, c.session = context.Background(), &session{key: secret}
		end(c)
		if !bytes.Equal(secret, make([]byte, len(secret))) || c.session != nil {
			t.Errorf("%s: %q is left", name, secret)
		}
	}
}

// TestCancelledWhileClosing: a command that was not sent does not end the
// connection, whatever the reason has become since. What is loaded could not be
// given back.
func TestCancelledWhileClosing(t *testing.T) {
	closing, stop := context.WithCancel(context.Background())
	c := newChip(target{}, Options{Log: slog.New(slog.DiscardHandler)}, closing, context.Background())
	c.ctx, c.link = endingContext{context.Background(), stop}, &link{conn: unused{t}}
	if _, err := execute(c, tpm2.GetRandom{BytesRequested: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if c.link == nil {
		t.Error("the connection was given up")
	}
}
