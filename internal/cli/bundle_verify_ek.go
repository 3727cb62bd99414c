package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// bundleVerifyEKFlags are the flags of `bundle verify-ek`.
type bundleVerifyEKFlags struct {
	ca            caBundle
	intermediates []string
	crls          []string
	device        bool
	at            time.Time
}

func (a *app) bundleVerifyEK() *cobra.Command {
	var f bundleVerifyEKFlags
	c := &cobra.Command{
		Use:   "verify-ek (FILE...|--device) --ca-bundle FILE[,FILE]",
		Short: "verify the EK certificates of TPMs under TPM CA bundles",
		Long: `Verify-ek looks for the chain from an EK certificate to a root of the CA bundle, by
names as RFC 5280 compares them, and says what the certificate says of its TPM, what is
odd about it, and what was not checked.

  sealsmith bundle verify-ek ek.der --ca-bundle roots.pem,intermediates.pem
  sealsmith bundle verify-ek *.crt --ca-bundle roots.pem,intermediates.pem --crl list.crl
  sealsmith bundle verify-ek --device --ca-bundle roots.pem,intermediates.pem

FILE is DER, PEM, what the NV index of a TPM holds, padding included, or the JSON of
Intel's service; - is standard input. PEM may hold several EK certificates, and behind
the first those of CAs, which help and are not trusted. --device takes the certificates
of this machine's TPM. One certificate is shown in full, several in a line each.

An EK certificate is public: it does not show who has the TPM. See sealsmith key
verify-attestation for that. Revocation is checked only where --crl gives a list of the
issuer that is of the time in question; what is on a list of any time is refused.

Exit status 3 means that a certificate was refused. The reasons, the findings and
the JSON are described in docs/spec/ek.md.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.device {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.MinimumNArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.verifyEKs(cmd.Context(), f, args) },
	}
	f.ca.register(c)
	flags := c.Flags()
	flags.StringSliceVar(&f.intermediates, "intermediate", nil, "also look for issuers in `FILE[,FILE]` (DER or PEM), which are not trusted")
	flags.StringSliceVar(&f.crls, "crl", nil, "check revocation by the lists in `FILE[,FILE]` (DER or PEM), which count if the issuer signed them")
	flags.BoolVar(&f.device, "device", false, "verify the certificates of this machine's TPM")
	flags.TimeVar(&f.at, "at", time.Time{}, []string{time.DateOnly, time.RFC3339}, "judge as at `TIME` (YYYY-MM-DD or RFC 3339) instead of now")
	return c
}

// ekVerifier judges certificates and prints them one by one.
type ekVerifier struct {
	app     *app
	anchors *bundle.Anchors
	at      time.Time
	crls    *bundle.CRLs
	alone   bool // one certificate is all there is to show

	shown    []verifiedEKJSON // for --json
	refused  []error
	count    int
	unlisted int // accepted, though not all of its chain could be looked up
}

func (a *app) verifyEKs(ctx context.Context, f bundleVerifyEKFlags, paths []string) error {
	if i := slices.Index(paths, "-"); i >= 0 && slices.Contains(paths[i+1:], "-") {
		return errStdinTwice
	}
	v, err := a.newEKVerifier(f)
	if err != nil {
		return err
	}
	var failed error
	if f.device {
		if err := v.device(ctx); err != nil {
			return err
		}
	} else {
		failed = v.files(ctx, paths)
	}
	return errors.Join(v.end(), failed)
}

func (a *app) newEKVerifier(f bundleVerifyEKFlags) (*ekVerifier, error) {
	v := &ekVerifier{app: a, at: f.at, shown: []verifiedEKJSON{}}
	if v.at.IsZero() {
		v.at = time.Now()
	}
	var err error
	if v.anchors, err = f.ca.anchors(); err != nil {
		return nil, err
	}
	if len(f.intermediates) > 0 {
		files, err := readFiles(f.intermediates, limits.BundleFile)
		if err != nil {
			return nil, err
		}
		if v.anchors, err = v.anchors.WithHelpers(files...); err != nil {
			return nil, fmt.Errorf("--intermediate: %w", err)
		}
	}
	if len(f.crls) > 0 {
		files, err := readFiles(f.crls, limits.BundleCRL)
		if err != nil {
			return nil, err
		}
		if v.crls, err = bundle.ParseCRLs(files...); err != nil {
			return nil, fmt.Errorf("--crl: %w", err)
		}
	}
	return v, nil
}

// readFiles reads several files of at most limit bytes each.
func readFiles(paths []string, limit int64) ([][]byte, error) {
	files := make([][]byte, len(paths))
	for i, path := range paths {
		var err error
		if files[i], err = readFile(path, limit); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// files judges all files. The error is for those that cannot be read.
func (v *ekVerifier) files(ctx context.Context, paths []string) error {
	var failed []error
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(failed, err)...)
		}
		data, err := v.app.readInput(path, limits.BundleFile)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		file, err := bundle.ParseEKFile(data)
		v.alone = len(paths) == 1 && (err != nil || len(file.EKs) == 1)
		v.file(ctx, path, file, err)
	}
	return errors.Join(failed...)
}

// file judges what is in a file, or says that it holds no EK certificate.
func (v *ekVerifier) file(ctx context.Context, path string, file *bundle.EKFile, malformed error) {
	if malformed != nil {
		refused, _ := errors.AsType[*bundle.EKError](malformed)
		v.add(path, 0, &bundle.EKReport{Refused: refused})
		return
	}
	for i, c := range file.EKs {
		if ctx.Err() != nil {
			return
		}
		number := 0
		if len(file.EKs) > 1 {
			number = i + 1
		}
		v.add(path, number, v.anchors.ReportEK(c, bundle.EKOptions{At: v.at, Helpers: file.Helpers, CRLs: v.crls}))
	}
}

// device judges the certificates in the TPM.
func (v *ekVerifier) device(ctx context.Context) error {
	client, done, err := v.app.keys(ctx)
	if err != nil {
		return err
	}
	defer done()
	keys, err := endorsementKeysOf(ctx, client)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return errNoEK
	}
	v.alone = len(keys) == 1
	for _, k := range keys {
		name := fmt.Sprintf("NV index 0x%08x", k.Index)
		if len(k.Certificate) == 0 {
			v.add(name, 0, &bundle.EKReport{Refused: &bundle.EKError{Reason: bundle.Malformed, Text: k.Problem}})
			continue
		}
		file, err := bundle.ParseEKFile(k.Certificate)
		if err == nil {
			file.Helpers = helpersOf(k)
		}
		v.file(ctx, name, file, err)
		if k.Problem != "" {
			v.app.say("%s: %s", name, k.Problem)
		}
	}
	return nil
}

// add notes and prints a certificate; number is its place among those of a file, if
// there are several.
func (v *ekVerifier) add(source string, number int, r *bundle.EKReport) {
	v.count++
	j := newVerifiedEKJSON(source, number, r)
	if r.Refused != nil {
		v.refused = append(v.refused, fmt.Errorf("%s: %w", j.name(), r.Refused))
	} else if slices.ContainsFunc(r.Revocation, func(one bundle.Revocation) bool { return one.Status == bundle.NotChecked }) {
		v.unlisted++
	}
	switch {
	case v.app.json:
		v.shown = append(v.shown, j)
	case v.alone || v.app.verbose:
		v.app.printEKReport(j, v.anchors)
	case r.Refused != nil || !v.app.quiet:
		v.app.printEKLine(j)
	}
}

// end prints the summary and says how it ended.
func (v *ekVerifier) end() error {
	var err error
	good := v.count - len(v.refused)
	switch {
	case v.app.json:
		err = v.app.printJSON(verifiedEKsJSON{v.at.UTC().Truncate(time.Second), v.anchors.Digest(), v.crls != nil, v.shown, good, len(v.refused)})
	case v.count > 1 && !v.app.quiet:
		v.app.printEKSummary(v, good)
	}
	if len(v.refused) == 0 {
		return err
	}
	refused := v.refused[0]
	if v.count > 1 {
		refused = fmt.Errorf("%w: %d of %s", errFaulty, len(v.refused), plural(v.count, "EK certificate"))
	}
	return errors.Join(v.advise(refused), err)
}

// advise says what can be done about the first refusal.
func (v *ekVerifier) advise(err error) error {
	first, _ := errors.AsType[*bundle.EKError](v.refused[0])
	switch first.Reason {
	case bundle.IssuerMissing:
		return hint.Wrap(err, "give all that you trust: --ca-bundle roots.pem,intermediates.pem",
			"a certificate between, such as the maker's site has, can be given with --intermediate FILE")
	case bundle.Expired, bundle.NotYetValid:
		return hint.Wrap(err, "if you know when the TPM made its statement, judge as at that time: --at YYYY-MM-DD")
	}
	return err
}
