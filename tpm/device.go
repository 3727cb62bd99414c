package tpm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// Options say which TPM to use and where to keep what is known about it.
type Options struct {
	// Device is a device string, see [ParseDevice]; empty means /dev/tpmrm0.
	Device string
	// LockDir is the folder of the locks that give a device one owner. It is
	// made if needed and must be ours alone.
	LockDir string
	// DataDir is the folder of tpm.json, which remembers each device's
	// storage primary. It is made if needed and must be ours alone.
	DataDir string
	// Log gets protocol steps and changes of state; nil discards them.
	Log *slog.Logger
	// Notice gets what a person must be told: a software TPM, a first use. nil
	// means that the log gets it, as a warning.
	Notice func(string)
}

// Device is a TPM. It is safe for concurrent use; commands are sent one after
// the other, in the order in which they were asked for. It opens the TPM at the
// first use and again after the connection was lost.
type Device struct {
	target target
	chip   *chip // only serve's goroutine touches it

	jobs    chan job
	closing context.Context // ends with Close
	stop    context.CancelFunc
	cut     context.CancelFunc // ends the command in hand
	closed  chan error         // the goroutine's last word
	once    sync.Once
	err     error // of closing

	patience, giveUp time.Duration // of Close
}

// job is a closure for the goroutine that owns the TPM.
type job struct {
	ctx  context.Context
	do   func(*chip) error
	done chan<- error
}

// errClosed is the answer to everything after Close.
var errClosed = errors.New("TPM is closed")

// NewDevice makes a Device without touching the TPM, the locks or the disk. The
// caller must close it. Its errors wrap [key.ErrUsage].
func NewDevice(o Options) (*Device, error) {
	t, err := parseTarget(o.Device)
	if err != nil {
		return nil, err
	}
	if o.LockDir == "" || o.DataDir == "" {
		return nil, fmt.Errorf("TPM %s: no folder for locks or data: %w", t, key.ErrUsage)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Notice == nil {
		o.Notice = func(text string) { o.Log.Warn(text) }
	}
	closing, stop := context.WithCancel(context.Background())
	inHand, cut := context.WithCancel(context.Background())
	d := &Device{
		target: t, chip: newChip(t, o, closing, inHand),
		jobs: make(chan job), closing: closing, stop: stop, cut: cut, closed: make(chan error, 1),
		patience: limits.TPMClose, giveUp: limits.TPMGiveUp,
	}
	go d.serve()
	return d, nil
}

// String is the canonical device string, see [ParseDevice].
func (d *Device) String() string { return d.target.String() }

// Do runs f with the TPM to itself. Cancelling ctx ends the wait for the TPM and
// the pauses between repetitions; a command that was sent is waited for, and then
// no other is sent but TPM2_FlushContext. A panic of f becomes an error. Warnings
// by which the TPM asks for patience are dealt with: f sees the final answer. f
// must flush every handle that it makes, and must not call the Device. If the TPM
// cannot be opened, the error wraps [key.ErrUsage], [key.ErrNoDevice] or
// [key.ErrBusy].
func (d *Device) Do(ctx context.Context, f func(transport.TPM) error) error {
	return d.run(ctx, func(c *chip) error {
		if err := c.open(); err != nil {
			return err
		}
		return f(c)
	})
}

// Close waits for the command in hand, unloads every key, ends the session and
// closes the TPM. When that takes longer than a command may, the connection is cut
// and the slots of the TPM stay as they are. If even that does not end the job in
// hand, Close fails and leaves the device's lock to the end of the process. A
// second Close does nothing and returns the same error.
func (d *Device) Close() error {
	d.once.Do(func() {
		d.stop()
		defer time.AfterFunc(d.patience, d.cut).Stop()
		select {
		case d.err = <-d.closed:
		case <-time.After(d.patience + d.giveUp):
			d.err = fmt.Errorf("close TPM %s: what is in hand does not end", d.target)
		}
	})
	return d.err
}

// run queues f and waits until it returns. The channel has no buffer: its
// waiting senders are the queue, served in the order of their arrival.
func (d *Device) run(ctx context.Context, f func(*chip) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	select {
	case d.jobs <- job{ctx, f, done}:
		return <-done
	case <-ctx.Done():
		return ctx.Err()
	case <-d.closing.Done():
		return errClosed
	}
}

// serve is the goroutine that owns the TPM.
func (d *Device) serve() {
	for {
		select {
		case j := <-d.jobs:
			d.chip.ctx = j.ctx
			j.done <- explainLost(d.chip.guard(j.do))
		case <-d.closing.Done():
			d.chip.ctx, d.chip.closing = context.Background(), context.Background()
			d.closed <- d.chip.guard((*chip).close)
			return
		}
	}
}
