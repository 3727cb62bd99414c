package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/tpm"
	"github.com/sealsmith/sealsmith/verify"
)

// trustFlags say whose signatures count; every verifying command has them.
type trustFlags struct {
	keyFlag        string // the name of the flag for keys
	keys           []string
	allowedSigners string
	identities     []string
	at             string
}

func (f *trustFlags) register(c *cobra.Command, keyFlag string) {
	f.keyFlag = keyFlag
	flags := c.Flags()
	flags.StringArrayVar(&f.keys, keyFlag, nil, "trust the public key in `FILE` (PEM or OpenSSH); may be repeated")
	flags.StringVar(&f.allowedSigners, "allowed-signers", "", "trust the keys that this `FILE` (ssh-keygen(1)) gives to --identity")
	flags.StringArrayVar(&f.identities, "identity", nil, "`WHO` must have signed, by the allowed signers file; may be repeated: one of them")
	flags.StringVar(&f.at, "time", "", "check that the signers were valid at `TIME` (RFC 3339) instead of now")
}

// policy reads the trust files. None may come from the folder dir, the one that
// is checked; empty means that no folder is.
func (f *trustFlags) policy(dir string) (verify.Policy, error) {
	at, err := f.when()
	if err != nil {
		return verify.Policy{}, err
	}
	trust, err := f.trust(dir)
	return verify.Policy{At: at, Trust: trust}, err
}

// when is the time that is asked about.
func (f *trustFlags) when() (time.Time, error) {
	if f.at == "" {
		return time.Now(), nil
	}
	at, err := time.Parse(time.RFC3339, f.at)
	if err != nil {
		return at, usageError(fmt.Errorf("--time %.80q is not of the form 2026-11-20T08:00:00Z", f.at))
	}
	return at, nil
}

func (f *trustFlags) trust(dir string) (*verify.Trust, error) {
	switch {
	case len(f.keys) > 0 && (f.allowedSigners != "" || len(f.identities) > 0):
		return nil, usageError(fmt.Errorf("--%s and --allowed-signers are two ways to say whom to trust; give one", f.keyFlag))
	case len(f.keys) > 0:
		files := make([][]byte, len(f.keys))
		for i, path := range f.keys {
			var err error
			if files[i], err = readTrust(dir, path); errors.Is(err, fs.ErrNotExist) {
				return nil, hint.Wrap(err, "name the file of a public key; to make one of your own key: sealsmith key pubkey NAME > FILE")
			} else if err != nil {
				return nil, err
			}
			if _, err := verify.ParseKeys(files[i]); err != nil {
				return nil, hint.Wrap(fmt.Errorf("%s: %w", path, err),
					"give a public key; a file that says whose keys they are goes with --allowed-signers FILE --identity WHO")
			}
		}
		return verify.ParseKeys(files...)
	case f.allowedSigners != "" && len(f.identities) > 0:
		data, err := readTrust(dir, f.allowedSigners)
		if err != nil {
			return nil, err
		}
		trust, err := verify.ParseAllowedSigners(data, f.identities...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.allowedSigners, err)
		}
		return trust, nil
	}
	return nil, hint.Wrap(usageError(errors.New("nothing says whose signature is wanted")),
		"give --"+f.keyFlag+" FILE, or --allowed-signers FILE with --identity WHO")
}

func readTrust(dir, path string) ([]byte, error) {
	if dir != "" {
		if err := verify.Outside(dir, path); err != nil {
			return nil, err
		}
	}
	return readFile(path, limits.TrustFile)
}

// printResult prints what a verification established, and nothing else.
func (a *app) printResult(r resultJSON) error {
	r.Verified = true
	if a.json {
		return a.printJSON(r)
	}
	a.printChecks(r)
	if !a.quiet {
		fmt.Fprintf(a.Out, "verified: %s\n", printable(r.Subject))
	}
	return nil
}

func (a *app) printChecks(r resultJSON) {
	if a.quiet {
		return
	}
	for _, check := range r.Checks {
		fmt.Fprintf(a.Out, "ok: %s\n", printable(check))
	}
	for _, name := range r.NotChecked {
		fmt.Fprintf(a.Out, "not checked: %s\n", printable(name))
	}
}

// printRefusal prints a refusal as JSON, if that was asked for, and returns it.
func (a *app) printRefusal(what string, err error) error {
	if status := exitStatus(err); !a.json || status != exitRefused && status != exitStale {
		return err
	}
	result := resultJSON{Subject: what, Checks: []string{}, Signers: []signerJSON{}, Error: err.Error()}
	var refusal *verify.Refusal
	var ofEvidence *tpm.Refusal
	if errors.As(err, &refusal) {
		result.Reason = string(refusal.Reason)
	} else if errors.As(err, &ofEvidence) {
		result.Reason = string(ofEvidence.Reason)
	} else if errors.Is(err, errStale) {
		result.Reason = errStale.Error()
	}
	return errors.Join(err, a.printJSON(result))
}

// resultJSON is the --json form of a verification.
type resultJSON struct {
	Verified bool     `json:"verified"`
	Subject  string   `json:"subject"` // what was verified
	Checks   []string `json:"checks"`  // that were made and passed
	// NotChecked is what nothing was said of: files beside what was verified, or
	// what evidence cannot prove.
	NotChecked []string      `json:"not_checked,omitempty"`
	Signers    []signerJSON  `json:"signers"`
	Date       string        `json:"date,omitempty"`           // of a release
	Content    string        `json:"content_sha256,omitempty"` // of a release: see docs/spec/ca-bundle.md
	Attested   *attestedJSON `json:"attested,omitempty"`       // the key of evidence
	Claimed    *attestedJSON `json:"claimed,omitempty"`        // the same of evidence that was refused
	Reason     string        `json:"reason,omitempty"`         // of a refusal: its kind
	Error      string        `json:"error,omitempty"`
}

type signerJSON struct {
	Format      string `json:"format"`
	KeyID       string `json:"key_id"`
	Fingerprint string `json:"fingerprint"`
	Identity    string `json:"identity,omitempty"`
}

func signersJSON(signers []verify.Signer) []signerJSON {
	all := make([]signerJSON, len(signers))
	for i, s := range signers {
		all[i] = signerJSON{string(s.Format), string(s.Key), s.Fingerprint, s.Identity}
	}
	return all
}
