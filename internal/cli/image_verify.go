package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/oci"
	"github.com/sealsmith/sealsmith/provenance"
	"github.com/sealsmith/sealsmith/verify"
)

// imageNamespace is the namespace of images in allowed signers files. Image
// signatures name none.
const imageNamespace = "sealsmith-image"

func (a *app) imageVerify() *cobra.Command {
	var trust trustFlags
	var namespace string
	c := &cobra.Command{
		Use:   "verify IMAGE (--key FILE | --allowed-signers FILE --identity WHO)",
		Short: "verify an image in a registry",
		Long: `Verify looks for a signature over the image's digest by a trusted key, among those
attached to it in the registry. A tag is resolved once; use the digest that is
printed.

  sealsmith image verify registry.example/app:v1 --key release.pub

Exit status 3 means that no attached signature is good; the reasons are printed,
each signature's its own. When not all of them could be read, it is 1.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			policy, err := trust.policy("")
			if err != nil {
				return err
			}
			policy.Require, policy.Namespace = []verify.Format{verify.Sigstore}, namespace
			registry := newRegistryClient()
			subject, err := registry.Resolve(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			result, err := verifySubject(cmd.Context(), registry, subject, policy)
			if err != nil {
				return a.printRefusal(subject.String(), err)
			}
			return a.printResult(resultJSON{Subject: subject.String(), Checks: result.Checks, Signers: signersJSON(result.Signers)})
		},
	}
	trust.register(c, "key")
	c.Flags().StringVar(&namespace, "namespace", imageNamespace, "what an allowed signer with a namespaces option must be allowed to sign")
	return c
}

// verifySubject finds one good signature among those attached to a manifest. If
// none is, the error tells why the first ones were refused.
func verifySubject(ctx context.Context, registry *oci.Client, s oci.Subject, policy verify.Policy) (*verify.Result, error) {
	verifier, err := verify.New(policy)
	if err != nil {
		return nil, err
	}
	var refusals []error
	more := 0
	for artifact, err := range registry.Attached(ctx, s, sigstoreBundleType) {
		if err != nil {
			return nil, noneGood(refusals, more, err)
		}
		result, err := verifier.Statement(artifact.Data, provenance.ImageSignatureType, hexDigest(s))
		switch {
		case err == nil:
			return result, nil
		case !errors.Is(err, verify.ErrRefused):
			return nil, err
		case len(refusals) == limits.OCINamed:
			more++
		default:
			refusals = append(refusals, fmt.Errorf("signature %.19s: %w", artifact.Digest, err))
		}
	}
	return nil, noneGood(refusals, more, nil)
}

// noneGood is the error after a search for a good signature: what was refused, how
// many more were, and how the search ended.
func noneGood(refusals []error, more int, end error) error {
	if more > 0 {
		refusals = append(refusals, fmt.Errorf("%d more signatures were refused", more))
	}
	all := end == nil || errors.Is(end, oci.ErrNotAttached)
	switch {
	case all && len(refusals) == 0:
		return refused(verify.NoSignature, "nobody signed it: %w", end)
	case all:
		return errors.Join(append(refusals, end)...)
	case len(refusals) == 0:
		return end
	}
	// %v: the good one may be among those that could not be looked at.
	return fmt.Errorf("%w\n%v", end, errors.Join(refusals...))
}
