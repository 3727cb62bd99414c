package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/oci"
	"github.com/sealsmith/sealsmith/tpm"
	"github.com/sealsmith/sealsmith/verify"
)

// The exit statuses. Scripts depend on them.
const (
	exitFailed  = 1 // I/O, build, fetch
	exitUsage   = 2
	exitRefused = 3 // checked and refused
	exitDenied  = 4 // denied or cancelled by the user
	exitDevice  = 5 // device missing, busy or locked out
	exitStale   = 6 // too old, or soon to be
)

// exitStatus is the exit status that tells a script what kind of error it was.
func exitStatus(err error) int {
	var wrongPIN *key.PINError
	var lockout *key.LockoutError
	var watched *watchError
	var ek *bundle.EKError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &watched):
		return watched.status
	case errors.Is(err, verify.ErrRefused), errors.Is(err, tpm.ErrRefused), errors.Is(err, agent.ErrAuditBroken), errors.Is(err, errDiffer), errors.Is(err, errFaulty), errors.As(err, &ek):
		return exitRefused
	case errors.Is(err, errStale):
		return exitStale
	case errors.Is(err, key.ErrDenied), errors.Is(err, context.Canceled), errors.As(err, &wrongPIN):
		return exitDenied
	case errors.Is(err, key.ErrNoDevice), errors.Is(err, key.ErrBusy), errors.Is(err, key.ErrForeign),
		errors.Is(err, key.ErrLocked), errors.As(err, &lockout):
		return exitDevice
	case errors.Is(err, key.ErrUsage), errors.Is(err, bundle.ErrUsage), errors.Is(err, oci.ErrUsage):
		return exitUsage
	}
	return exitFailed
}

// printError prints an error and its hints. The lines after the first (all the
// certificates that could not be fetched) are details of it.
func (a *app) printError(err error) {
	first, rest, _ := strings.Cut(err.Error(), "\n")
	fmt.Fprintf(a.Err, "sealsmith: error: %s\n", printable(first))
	for line := range strings.Lines(rest) {
		fmt.Fprintf(a.Err, "sealsmith: %s\n", printable(strings.TrimRight(line, "\n")))
	}
	for _, text := range hint.Of(err) {
		fmt.Fprintf(a.Err, "sealsmith: hint: %s\n", printable(text))
	}
}
