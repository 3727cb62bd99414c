package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/verify"
)

// bundleNamespace is the SSHSIG namespace of a release's checksums.
const bundleNamespace = "sealsmith-bundle"

func (a *app) bundleVerify() *cobra.Command {
	var trust trustFlags
	var namespace string
	var require []string
	c := &cobra.Command{
		Use:   "verify DIR (--key FILE | --allowed-signers FILE --identity WHO)",
		Short: "verify a signed folder of TPM CA bundles",
		Long: `Verify checks the signatures over SHA256SUMS, that both bundles and their index have
the digests it names and fit together, and that the folder holds nothing else. It needs no network and no
device.

Whom to trust is said on the command line, with files from outside the folder:

  sealsmith bundle verify release --key maintainer.pub
  sealsmith bundle verify release --allowed-signers signers --identity me@example.org

Any reason to say no is exit status 3.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := isFolder(args[0]); err != nil {
				return err
			}
			policy, err := trust.policy(args[0])
			if err != nil {
				return a.printRefusal(args[0], err)
			}
			policy.Namespace = namespace
			for _, text := range require {
				format, err := verify.ParseFormat(text)
				if err != nil {
					return err
				}
				policy.Require = append(policy.Require, format)
			}
			return a.printRefusal(args[0], a.verifyRelease(args[0], policy))
		},
	}
	trust.register(c, "key")
	c.Flags().StringVar(&namespace, "namespace", bundleNamespace, "SSHSIG namespace that the signature must be made for")
	c.Flags().StringSliceVar(&require, "require", []string{"sshsig", "sigstore"}, "signature formats that must be there")
	return c
}

// verifyRelease reads a folder and checks its signatures, then its files.
func (a *app) verifyRelease(dir string, policy verify.Policy) error {
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
	result, err := verifier.Release(verify.Release{
		Sums:     sums,
		SSHSIG:   folder.files[bundle.SumsName+sshsigEnding],
		Sigstore: folder.files[bundle.SumsName+sigstoreEnding],
	})
	if err != nil {
		return err
	}
	checks, err := folder.checkFiles()
	if err != nil {
		return err
	}
	unchecked := folder.others()
	for format, name := range map[verify.Format]string{verify.SSHSIG: bundle.SumsName + sshsigEnding, verify.Sigstore: bundle.SumsName + sigstoreEnding} {
		if _, there := folder.files[name]; there && !slices.Contains(policy.Require, format) {
			unchecked = append(unchecked, name)
		}
	}
	slices.Sort(unchecked)
	return a.printResult(resultJSON{
		Subject: dir, Checks: append(result.Checks, checks...), NotChecked: unchecked, Signers: signersJSON(result.Signers),
	})
}
