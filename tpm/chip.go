package tpm

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/key"
)

// chip is the state of a device: the connection and everything that lives in the
// TPM for us. One goroutine at a time has it, so handles never leave it and nothing
// here needs a lock.
type chip struct {
	target  target
	lockDir string
	pins    pinFile
	log     *slog.Logger
	notice  func(string)
	start   func() (net.Conn, func() error, error) // swtpm
	limit   func(tpm2.TPMCC) time.Duration
	ready   time.Duration // in which open must be done
	retry   time.Duration // for which a command is sent again

	ctx     context.Context // of the job in hand: transport.TPM has no room for it
	closing context.Context // ends every job, after its command in hand
	cut     context.Context // ends the command in hand too
	owner   *os.File        // the lock; nil before the first open or when shared
	lost    error           // how the last connection ended
	link    *link           // nil: not open, and then nothing below is set

	session *session
	keys    []loadedKey   // the one used last is the last
	saved   []savedKey    // unloaded to make room
	primary []byte        // the Name of the storage primary, once it was checked
	hashes  []crypto.Hash // those of ours that the TPM has; nil: not asked yet

	barred map[string]bool // what has a password that we do not know, see bar; outlives the link
}

// loadedKey is a key in a slot of the TPM. A slot keeps the PIN that the key had
// when it was loaded, so the private area says which one this is.
type loadedKey struct {
	*object
	handle tpm2.TPMHandle
}

// is says whether this is the object, with its PIN of now.
func (k loadedKey) is(o *object) bool { return k.name == o.name && bytes.Equal(k.private, o.private) }

func newChip(t target, o Options, closing, cut context.Context) *chip {
	log := o.Log.With(logx.Device, t.String())
	if o.StartSWTPM == nil {
		o.StartSWTPM = func() (net.Conn, func() error, error) { return findSWTPM(t.path, log).Start() }
	}
	return &chip{
		target: t, lockDir: o.LockDir, pins: pinFile{o.DataDir, t.String()},
		log: log, notice: o.Notice, start: o.StartSWTPM, limit: commandLimit,
		ready: limits.TPMOpen, retry: limits.TPMRetry, closing: closing, cut: cut, lost: net.ErrClosed,
	}
}

// ended is why the job in hand must not begin another command; nil: it may.
func (c *chip) ended() error {
	if c.closing.Err() != nil {
		return errClosed
	}
	return c.ctx.Err()
}

// open connects, if there is no connection.
func (c *chip) open() error {
	if c.link != nil {
		return nil
	}
	if c.owner == nil {
		owner, err := c.target.own(c.lockDir)
		if err != nil {
			return err
		}
		c.owner = owner
	}
	for begun := time.Now(); ; {
		err := c.connect()
		// As we own the device, who has the folder of its swtpm is mostly one whose agent
		// was killed just now.
		if c.target.kind != swtpmChild || !errors.Is(err, key.ErrBusy) || time.Since(begun) >= limits.TPMDying || c.ended() != nil {
			return err
		}
		time.Sleep(limits.LockPause)
	}
}

// connect opens the device that we own.
func (c *chip) connect() error {
	l, err := c.target.open(c.start)
	if err != nil {
		return err
	}
	c.link = l
	if err := c.prepareInTime(); err != nil {
		return err
	}
	c.log.Debug("TPM opened")
	return nil
}

// prepareInTime runs prepare within one limit for all its commands, and drops the
// connection when it fails.
func (c *chip) prepareInTime() error {
	job := c.ctx
	ctx, cancel := context.WithTimeout(job, c.ready)
	defer cancel()
	c.ctx = ctx
	err := c.prepare()
	c.ctx = job
	if err == nil {
		return nil
	}
	err = errors.Join(err, c.drop())
	switch {
	case c.ended() != nil:
		return fmt.Errorf("open TPM %s: %w", c.target, err)
	case ctx.Err() != nil:
		err = fmt.Errorf("not ready within %v: %w", c.ready, err)
	}
	return c.target.explain(err)
}

// prepare does what each kind of device needs once a connection is open.
func (c *chip) prepare() error {
	switch {
	case c.target.kind == swtpmChild:
		// A parent that was killed costs a count; three, and no PIN would work.
		answer, err := c.Send(lockReset)
		if err != nil {
			return err
		}
		c.notice(fmt.Sprintf(swtpmNotice, c.target.path))
		if code := answerCode(answer); code != tpm2.TPMRCSuccess {
			c.log.Warn("the lockout of the software TPM was not reset", logx.Err, code)
		}
	case c.target.kind == unixSocket:
		// Nobody manages the slots of this TPM, we own it, and it serves one
		// client at a time: what is loaded was left by one that is gone.
		return c.flushLeftovers()
	case !c.target.managed():
		c.notice(fmt.Sprintf("%s is not shared: other programs cannot use the TPM meanwhile, and what they left there may be in the way; better use %s",
			c.target, defaultDevice))
	}
	return nil
}

// guard runs f and makes its panic an error: no answer of a TPM, and no file, may
// end the process. What f left behind in the TPM goes with the connection.
func (c *chip) guard(f func(*chip) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic while the TPM was used", logx.Err, p, "stack", string(debug.Stack()))
			err = c.lose(fmt.Errorf("internal error while the TPM was used: %.200q", fmt.Sprint(p)))
		}
	}()
	return f(c)
}

// attempt runs f, and runs it once more when that can help: the TPM was reset or
// restarted, or its slots are full of our keys. repeatable says that f may be
// repeated though nobody knows whether it was carried out: it must not when it
// used a PIN, for a wrong one would count twice.
func (c *chip) attempt(repeatable bool, f func() error) error {
	err := c.try(f)
	var lost *lostError
	switch {
	case err == nil || c.ended() != nil:
		return err
	case errors.As(err, &lost):
		if lost.sent && !repeatable || errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	case isGone(err) || isFull(err) && len(c.keys) > 0:
		c.flushAll()
	default:
		return err
	}
	c.log.Debug("repeat", logx.Err, err)
	return c.try(f)
}

func (c *chip) try(f func() error) error {
	if err := c.open(); err != nil {
		return err
	}
	return f()
}

// flushAll unloads every key and ends the session.
func (c *chip) flushAll() {
	for _, k := range c.keys {
		c.flush(k.handle)
	}
	if c.session != nil {
		c.flush(c.session.handle)
	}
	c.session.forget()
	c.keys, c.saved, c.session = nil, nil, nil
}

// flush unloads one object or session. It fails only if the connection was lost:
// what the TPM does not know any more is gone as well.
func (c *chip) flush(h tpm2.TPMHandle) error {
	_, err := execute(c, tpm2.FlushContext{FlushHandle: h})
	if err != nil {
		c.log.Debug("flush", "handle", fmt.Sprintf("%#x", uint32(h)), logx.Err, err)
	}
	if c.link == nil {
		return err
	}
	return nil
}

// flushLeftovers unloads every transient object and session of the TPM.
func (c *chip) flushLeftovers() error {
	for _, first := range []tpm2.TPMHandle{0x80000000, 0x02000000, 0x03000000} { // transient, HMAC, policy
		handles, err := c.handles(first)
		if err != nil {
			return err
		}
		for _, h := range handles {
			if err := c.ended(); err != nil {
				return err
			}
			if err := c.flush(h); err != nil {
				return err
			}
		}
	}
	return nil
}

// lose forgets a connection that cannot be used any more because of err, and
// adds what a child that died had to say.
func (c *chip) lose(err error) error {
	c.lost = err
	if lost, ok := errors.AsType[*lostError](err); ok {
		c.lost = lost.err
	}
	if dropErr := c.drop(); dropErr != nil {
		return fmt.Errorf("%w: %w", err, dropErr)
	}
	return err
}

// drop closes the connection and forgets everything that lived in it.
func (c *chip) drop() error {
	l := c.link
	c.session.forget()
	c.link, c.session, c.keys, c.saved, c.primary, c.hashes = nil, nil, nil, nil, nil, nil
	if l == nil {
		return nil
	}
	return l.shut()
}

// close leaves the TPM as it was found.
func (c *chip) close() error {
	var errs []error
	if c.link != nil {
		c.flushAll()
		if c.target.kind == swtpmChild {
			// Without it the use of a key with a PIN would count as a wrong try.
			if _, err := execute(c, tpm2.Shutdown{ShutdownType: tpm2.TPMSUClear}); err != nil {
				errs = append(errs, fmt.Errorf("shut down the software TPM: %w", err))
			}
		}
		errs = append(errs, c.drop())
	}
	if c.owner != nil {
		errs = append(errs, disown(c.owner))
	}
	return errors.Join(errs...)
}
