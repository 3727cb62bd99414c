package cli

import (
	"errors"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/verify"
)

// bundleNamespace is the SSHSIG namespace of a release's checksums.
const bundleNamespace = "sealsmith-bundle"

// bundleVerifyFlags are the flags of `bundle verify`.
type bundleVerifyFlags struct {
	trust     trustFlags
	namespace string
	require   []string
	threshold int
	fresh     freshFlags
}

func (a *app) bundleVerify() *cobra.Command {
	var f bundleVerifyFlags
	c := &cobra.Command{
		Use:   "verify DIR (--key FILE | --allowed-signers FILE --identity WHO)",
		Short: "verify a signed folder of TPM CA bundles",
		Long: `Verify checks the signatures over SHA256SUMS, that both bundles and their index have
the digests it names and fit together, and that the folder holds nothing else. It needs
no network and no device.

Whom to trust is said on the command line, with files from outside the folder:

  sealsmith bundle verify release --key maintainer.pub
  sealsmith bundle verify release --allowed-signers signers --identity me@example.org

With --threshold, that many of them must have signed. Each key counts once, and where
several people are named by --identity, each person does:

  sealsmith bundle verify release --allowed-signers signers --threshold 2 \
    --identity alice@example.org --identity bob@example.org

It remembers the newest release of each signer. One that is older than what was seen of
those you name now, or another of the same day, is refused: somebody may serve it to hide
the newest. A newer one that was never seen here cannot be missed by it; --max-age bounds
for how long. To look at an old release, give --state none.

Any reason to say no is exit status 3; being older than --max-age is 6.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			debug.SetGCPercent(limits.VerifyGarbage)
			f.fresh.hasMaxAge = cmd.Flags().Changed("max-age")
			if err := isFolder(args[0]); err != nil {
				return err
			}
			policy, err := f.policy(args[0])
			if err == nil {
				err = a.verifyRelease(args[0], policy, f)
			}
			return a.printRefusal(args[0], err)
		},
	}
	f.trust.register(c, "key")
	c.Flags().StringVar(&f.namespace, "namespace", bundleNamespace, "SSHSIG namespace that the signature must be made for")
	c.Flags().StringSliceVar(&f.require, "require", []string{"sshsig", "sigstore"}, "signature formats that must be there")
	c.Flags().IntVar(&f.threshold, "threshold", 1, "`N` different signers must have signed")
	f.fresh.register(c)
	return c
}

func (f *bundleVerifyFlags) policy(dir string) (verify.Policy, error) {
	if err := f.fresh.check(dir); err != nil {
		return verify.Policy{}, err
	}
	policy, err := f.trust.policy(dir)
	if err != nil {
		return policy, err
	}
	policy.Namespace = f.namespace
	if len(f.require) == 0 {
		return policy, usageError(errors.New("--require names no signature format: give sshsig, sigstore or both"))
	}
	for _, text := range f.require {
		format, err := verify.ParseFormat(text)
		if err != nil {
			return policy, err
		}
		policy.Require = append(policy.Require, format)
	}
	return policy, nil
}

// verifyRelease reads a folder and checks its signatures, its files, and that it is
// not a release of the past.
func (a *app) verifyRelease(dir string, policy verify.Policy, f bundleVerifyFlags) error {
	verifier, err := verify.New(policy)
	if err != nil {
		return err
	}
	folder, err := readRelease(dir)
	if err != nil {
		return err
	}
	sums, err := folder.file(bundle.SumsName)
	if err != nil {
		return err
	}
	signatures := folder.signatures()
	if len(signatures) == 0 {
		return hint.Wrap(refused(verify.NoSignature, "there is no %s%s and no other signature", bundle.SumsName, sshsigEnding),
			"get the whole release; one of your own is signed with: sealsmith bundle sign DIR --key KEY")
	}
	counted, err := verifier.Signers(f.threshold, sums, signatures)
	if err != nil {
		return err
	}
	checks, err := folder.checkFiles()
	if err != nil {
		return err
	}
	result := resultJSON{
		Subject: dir, Checks: append(counted.Checks, checks...), NotChecked: folder.unchecked(counted.Names, policy.Require),
		Signers: signersJSON(counted.Signers), Date: folder.index.Date, Content: folder.index.ContentSHA256,
	}
	if err := a.checkFresh(&result, policy, f.fresh, sums); err != nil {
		return err
	}
	return a.printResult(result)
}

// signatures are those in the folder, by signer: "SHA256SUMS", and "SHA256SUMS.WHO" of
// more people.
func (r *releaseFolder) signatures() []verify.Signatures {
	by := map[string]*verify.Signatures{}
	var names []string
	for name, data := range r.files {
		who, ending := cutSignature(name)
		if ending == "" {
			continue
		}
		if by[who] == nil {
			by[who] = &verify.Signatures{Name: who}
			names = append(names, who)
		}
		if ending == sshsigEnding {
			by[who].SSHSIG = data
		} else {
			by[who].Sigstore = data
		}
	}
	slices.Sort(names)
	var all []verify.Signatures
	for _, name := range names {
		all = append(all, *by[name])
	}
	return all
}

// unchecked are the signatures that were not looked at, or do not count.
func (r *releaseFolder) unchecked(counted []string, required []verify.Format) []string {
	var names []string
	for name := range r.files {
		who, ending := cutSignature(name)
		format := verify.SSHSIG
		if ending == sigstoreEnding {
			format = verify.Sigstore
		}
		if ending != "" && (!slices.Contains(counted, who) || !slices.Contains(required, format)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// cutSignature takes the name of a signature apart; the ending of another file is "".
func cutSignature(name string) (who, ending string) {
	match := signatureName.FindStringSubmatch(name)
	if match == nil {
		return "", ""
	}
	return strings.TrimSuffix(name, match[1]), match[1]
}
