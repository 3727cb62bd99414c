package cli

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/seen"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/verify"
)

// freshFlags say how a release of the past is told from the newest.
type freshFlags struct {
	state          string
	acceptRollback bool
	maxAge         days
	hasMaxAge      bool
}

// noState is the --state that remembers nothing.
const noState = "none"

func (f *freshFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.state, "state", "", "remember in `FILE` which releases were seen, or none (default $XDG_STATE_HOME/sealsmith/seen.json)")
	flags.BoolVar(&f.acceptRollback, "accept-rollback", false, "accept a release that is older than one that was seen, or another of the same day, and remember it instead")
	flags.Var(&f.maxAge, "max-age", "refuse a release that is older than `DAYS`")
	// The zero of a flag's value would be shown as the default.
	flags.Lookup("max-age").DefValue = ""
}

// check finds out where to remember. That, too, must not be a place that came with
// what is checked.
func (f *freshFlags) check(dir string) error {
	if f.state == noState {
		if f.acceptRollback {
			return usageError(errors.New("--accept-rollback changes what is remembered, and --state none remembers nothing"))
		}
		return nil
	}
	if f.state == "" {
		f.state = xdg.Seen()
		if err := xdg.Private(xdg.State()); err != nil {
			return withoutState(err)
		}
	}
	if _, err := os.Stat(filepath.Dir(f.state)); err != nil {
		return withoutState(fmt.Errorf("folder of what was seen before: %w", err))
	}
	if err := verify.Outside(dir, filepath.Dir(f.state)); err != nil {
		return withoutState(err)
	}
	if _, err := os.Lstat(f.state); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return withoutState(verify.Outside(dir, f.state))
}

func withoutState(err error) error {
	return hint.Wrap(err, "name another place with --state FILE, or do without with --state none")
}

// errStale is a release that is older than was asked for.
var errStale = errors.New("stale release")

// checkFresh compares the date of a release that is good otherwise with the clock and
// with what was seen before, and remembers it.
func (a *app) checkFresh(r *resultJSON, policy verify.Policy, f freshFlags, sums []byte) error {
	date, err := time.Parse(time.DateOnly, r.Date)
	if err != nil {
		return err
	}
	age := policy.At.Sub(date)
	if age < -limits.ReleaseAhead {
		return refused(verify.FutureRelease, "dated %s, and it is %s", r.Date, policy.At.UTC().Format(time.DateTime+"Z"))
	}
	old := max(0, int64(age/oneDay))
	if f.hasMaxAge {
		most := int64(time.Duration(f.maxAge) / oneDay)
		if old > most {
			return hint.Wrap(fmt.Errorf("%w: dated %s, %d days ago, and %d are the most", errStale, r.Date, old, most),
				"look for a newer release where the signer publishes them")
		}
		r.Checks = append(r.Checks, fmt.Sprintf("dated %s: %d days old, at most %d", r.Date, old, most))
	}
	if err := a.remember(r, policy, f, sums); err != nil {
		return err
	}
	if !f.hasMaxAge && age > limits.ReleaseOld {
		a.say("sealsmith: warning: the release is dated %s, %d days ago: look for a newer one", r.Date, old)
	}
	return nil
}

// remember refuses a release that is older than one that was seen of anybody who is
// trusted here, and says what that comparison was worth.
func (a *app) remember(r *resultJSON, policy verify.Policy, f freshFlags, sums []byte) error {
	if f.state == noState {
		r.NotChecked = append(r.NotChecked, "whether a newer release was seen before (--state none)")
		return nil
	}
	known, err := seen.Advance(f.state, f.acceptRollback, seen.Release{
		Namespace: policy.Namespace, Signers: names(r.Signers), Accepted: names(signersJSON(policy.Trust.Signers())),
		Date: r.Date, SHA256: fmt.Sprintf("%x", sha256.Sum256(sums)),
	})
	var older *seen.OlderError
	var other *seen.OtherError
	switch {
	case errors.As(err, &older):
		return hint.Wrap(refused(verify.OlderRelease, "%w", err),
			"somebody may hide the newest release from you: get that one",
			"to look at an old one give --state none; to go back to it for good --accept-rollback")
	case errors.As(err, &other):
		return hint.Wrap(refused(verify.OtherRelease, "%w", err),
			"ask the signer which is right; sealsmith bundle diff shows how they differ",
			"to take this one in place of the other give --accept-rollback")
	case err != nil:
		return withoutState(err)
	}
	newest := ""
	for _, m := range known {
		newest = max(newest, m.Date)
	}
	switch {
	case newest == "":
		r.NotChecked = append(r.NotChecked, "whether there is a newer release: none by a trusted signer was seen here before")
	case f.acceptRollback:
		r.NotChecked = append(r.NotChecked, "whether a newer release was seen before (--accept-rollback)")
	default:
		r.Checks = append(r.Checks, fmt.Sprintf("dated %s: not older than what was seen of the trusted signers (%s)", r.Date, newest))
	}
	return nil
}

// names are those by which signers are remembered: their keys, and their identities,
// which outlive a key.
func names(signers []signerJSON) []string {
	var all []string
	for _, s := range signers {
		all = append(all, "key "+s.Fingerprint)
		if s.Identity != "" {
			all = append(all, "identity "+s.Identity)
		}
	}
	return all
}
