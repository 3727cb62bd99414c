package tpm

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
	"github.com/sealsmith/sealsmith/key"
)

var _ transport.TPM = (*chip)(nil)

// unsentError is a command that was not sent, or that the TPM did not begin and we
// did not send again. The connection is as good as before.
type unsentError struct{ err error }

// Error implements error.
func (e *unsentError) Error() string { return e.err.Error() }

// Unwrap gives errors.Is the cause.
func (e *unsentError) Unwrap() error { return e.err }

// Send implements [transport.TPM]: it sends one command, and sends the same
// bytes again while the TPM asks for patience. That is right inside an HMAC
// session too: the nonces have not moved. When the job in hand was given up, only
// what it loaded is still unloaded.
func (c *chip) Send(command []byte) ([]byte, error) {
	if len(command) > limits.TPMFrame {
		return nil, &unsentError{fmt.Errorf("command of %d bytes, more than a TPM takes: %w", len(command), key.ErrUnsupported)}
	}
	code := commandCode(command)
	start := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, limits.TPMRetryPause) {
		if err := c.ended(); err != nil && code != tpm2.TPMCCFlushContext {
			return nil, &unsentError{err}
		}
		if c.link == nil {
			return nil, &lostError{false, c.lost}
		}
		answer, err := c.link.exchange(c.cut, command, c.limit(code))
		if err != nil {
			c.log.Warn("TPM connection lost", logx.Err, err)
			return nil, c.lose(err)
		}
		if !wantsPatience(answerCode(answer)) || time.Since(start)+pause > c.retry {
			return answer, nil
		}
		c.sleep(pause, code)
	}
}

// sleep waits before a command is sent again, or until that will not be done.
func (c *chip) sleep(pause time.Duration, code tpm2.TPMCC) {
	given, closing := c.ctx.Done(), c.closing.Done()
	if code == tpm2.TPMCCFlushContext {
		given, closing = nil, nil
	}
	select {
	case <-time.After(pause):
	case <-given:
	case <-closing:
	case <-c.cut.Done():
	}
}

// wantsPatience says whether the TPM asks for the same command again.
func wantsPatience(code tpm2.TPMRC) bool {
	switch code {
	case tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate:
		return true
	}
	return false
}

// commandLimit is how long a command may take.
func commandLimit(code tpm2.TPMCC) time.Duration {
	switch code {
	case tpm2.TPMCCCreate, tpm2.TPMCCCreatePrimary:
		return limits.TPMKeyGeneration
	}
	return limits.TPMCommand
}

// execute runs one command. An answer that cannot be understood, or whose HMAC
// is wrong, ends the connection: nothing that is known about the TPM is certain
// any more. go-tpm panics on some malformed answers, and takes one without parameters
// for one in which they are zero.
func execute[R any](c *chip, cmd tpm2.Command[R, *R]) (rsp *R, err error) {
	defer func() {
		if p := recover(); p != nil {
			rsp, err = nil, c.lose(fmt.Errorf("malformed answer from the TPM: %v", p))
		}
	}()
	rsp, err = cmd.Execute(c)
	if err == nil {
		if v := reflect.ValueOf(rsp).Elem(); v.NumField() > 0 && v.IsZero() {
			return nil, c.lose(errors.New("malformed answer from the TPM: it is empty"))
		}
		return rsp, nil
	}
	var code tpm2.TPMRC
	var lost *lostError
	var unsent *unsentError
	if !errors.As(err, &code) && !errors.As(err, &lost) && !errors.As(err, &unsent) {
		err = c.lose(fmt.Errorf("bad answer from the TPM: %w", err))
	}
	return nil, err
}
