package tpm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-tpm/tpm2/transport"
	"golang.org/x/sync/semaphore"

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
	// StartSWTPM starts the software TPM of a device string swtpm:DIR, as
	// [SWTPM.Start] does; nil: a child of this process.
	StartSWTPM func() (conn net.Conn, ended func() error, err error)
}

// Device is a TPM. It is safe for concurrent use; commands are sent one after
// the other, in the order in which they were asked for. It opens the TPM at the
// first use and again after the connection was lost.
type Device struct {
	target target
	chip   *chip // only who has the turn touches it

	turn    *semaphore.Weighted // one; given in the order of asking
	waiting atomic.Int32        // for the turn
	closing context.Context     // ends with Close
	stop    context.CancelFunc
	cut     context.CancelFunc // ends the command in hand
	once    sync.Once
	err     error // of closing

	patience, giveUp time.Duration // of Close
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
		turn: semaphore.NewWeighted(1), closing: closing, stop: stop, cut: cut,
		patience: limits.TPMClose, giveUp: limits.TPMGiveUp,
	}
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
		closed := make(chan error, 1)
		go func() { closed <- d.shut() }()
		select {
		case d.err = <-closed:
		case <-time.After(d.patience + d.giveUp):
			d.err = fmt.Errorf("close TPM %s: what is in hand does not end", d.target)
		}
	})
	return d.err
}

// shut waits for its turn, closes the chip and keeps the turn for ever.
func (d *Device) shut() error {
	if err := d.turn.Acquire(context.Background(), 1); err != nil {
		return err
	}
	d.chip.ctx, d.chip.closing = context.Background(), context.Background()
	return d.chip.guard((*chip).close)
}

// run waits for its turn and runs f, in the caller's goroutine: another one would
// cost a switch there and one back.
func (d *Device) run(ctx context.Context, f func(*chip) error) error {
	if err := d.take(ctx); err != nil {
		return err
	}
	defer d.pass()
	d.chip.ctx = ctx
	return explainLost(d.chip.guard(f))
}

// take waits for the turn, until ctx ends or the device is closed.
func (d *Device) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !d.turn.TryAcquire(1) {
		d.waiting.Add(1)
		defer d.waiting.Add(-1)
		either, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(d.closing, cancel)()
		if d.turn.Acquire(either, 1) != nil {
			if err := ctx.Err(); err != nil {
				return err
			}
			return errClosed
		}
	}
	if d.closing.Err() != nil {
		d.turn.Release(1)
		return errClosed
	}
	return nil
}

// pass gives the turn to the next one and lets it run at once: the TPM must not
// idle while this goroutine deals with its answer.
func (d *Device) pass() {
	d.turn.Release(1)
	if d.waiting.Load() > 0 {
		runtime.Gosched()
	}
}
