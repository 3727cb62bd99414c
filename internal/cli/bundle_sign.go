package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/sign"
	"github.com/sealsmith/sealsmith/verify"
)

func (a *app) bundleSign() *cobra.Command {
	var keyRef, namespace, as string
	c := &cobra.Command{
		Use:   "sign DIR --key KEY",
		Short: "sign a folder of TPM CA bundles",
		Long: `Sign checks that the bundles in the folder and their index have the digests that
SHA256SUMS names and fit together, and signs SHA256SUMS twice with a key of usage artifact:

  SHA256SUMS.sig             SSHSIG, for ssh-keygen -Y verify
  SHA256SUMS.sigstore.json   Sigstore bundle, for cosign verify-blob

Both are verified before they are written. Of several signers, each but the first adds
signatures under a name, SHA256SUMS.WHO.sig and SHA256SUMS.WHO.sigstore.json:

  sealsmith bundle sign release --key release
  sealsmith bundle sign release --key release --as bob`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signature := bundle.SumsName
			if as != "" {
				signature += "." + as
			}
			if !signatureName.MatchString(signature + sshsigEnding) {
				return usageError(fmt.Errorf("--as %.80q is no name such as bob or bob@example.org", as))
			}
			return a.signRelease(cmd.Context(), args[0], signature, keyRef, namespace)
		},
	}
	c.Flags().StringVar(&keyRef, "key", "", "sign with `KEY`: a name or id:HEX")
	c.Flags().StringVar(&namespace, "namespace", bundleNamespace, "SSHSIG namespace; other projects use NAME@DOMAIN")
	c.Flags().StringVar(&as, "as", "", "add the signatures of one more signer, `WHO`")
	cobra.CheckErr(c.MarkFlagRequired("key"))
	return c
}

// signRelease writes the signatures over SHA256SUMS, which have this name and the
// endings of their formats.
func (a *app) signRelease(ctx context.Context, dir, signature, keyRef, namespace string) error {
	if err := isFolder(dir); err != nil {
		return err
	}
	folder, err := readRelease(dir)
	if err != nil {
		return err
	}
	if _, err := folder.checkFiles(); err != nil {
		return fmt.Errorf("%s is not fit to be signed: %w", dir, err)
	}
	// Who verifies relies on the signer for this: it takes longer than all the rest.
	if err := folder.checkParents(); err != nil {
		return err
	}
	sums := folder.files[bundle.SumsName]
	k, done, err := a.signer(ctx, keyRef, "the TPM CA bundles in "+filepath.Base(dir))
	if err != nil {
		return err
	}
	defer done()
	structured, ok := k.(key.StructuredSigner)
	if !ok || k.Info().Usage != key.Artifact {
		return wrongUsage(k.Info(), "CA bundles")
	}
	if err := folder.notAnothers(signature, k.Info()); err != nil {
		return err
	}
	a.warnCosign(k.Info())
	// The prompts show this digest, so that they can be told from another's.
	a.say("signing %s twice; its SHA-256 digest is %x", bundle.SumsName, sha256.Sum256(sums))

	sshsig, err := sign.SSH(ctx, structured, namespace, bytes.NewReader(sums))
	if err != nil {
		return err
	}
	sigstore, err := sign.Blob(ctx, k, bytes.NewReader(sums))
	if err != nil {
		return err
	}
	if err := checkSigned(k.Info(), namespace, verify.Release{Sums: sums, SSHSIG: sshsig, Sigstore: sigstore}); err != nil {
		return fmt.Errorf("verify what was signed: %w", err)
	}
	for _, file := range []bundle.File{{Name: sshsigEnding, Data: sshsig}, {Name: sigstoreEnding, Data: sigstore}} {
		path := filepath.Join(dir, signature+file.Name)
		if err := atomicfile.Write(path, file.Data, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(a.Out, path)
	}
	return nil
}

// notAnothers refuses to replace signatures over the same sums by another key: whose
// they are is not known, but that they would be lost.
func (r *releaseFolder) notAnothers(signature string, in key.Info) error {
	old, there := r.files[signature+sshsigEnding]
	if !there {
		return nil
	}
	signer, err := sshsig.ParseArmored(old)
	if err != nil {
		return nil // no signature
	}
	if id, err := key.NewID(signer.PublicKey()); err != nil || id == in.ID {
		return err
	}
	return hint.Wrap(fmt.Errorf("%s%s is a signature by another key", signature, sshsigEnding),
		"add yours to it with --as WHO, or remove it")
}

// checkSigned verifies new signatures with the key that was asked to make them.
func checkSigned(in key.Info, namespace string, r verify.Release) error {
	trust, err := verify.TrustKeys(in.Public)
	if err != nil {
		return err
	}
	verifier, err := verify.New(verify.Policy{Trust: trust, Require: verify.Formats, Namespace: namespace, At: time.Now()})
	if err != nil {
		return err
	}
	_, err = verifier.Release(r)
	return err
}

// wrongUsage refuses a key before anybody is asked about it.
func wrongUsage(in key.Info, what string) error {
	return hint.Wrap(fmt.Errorf("%s is a key of usage %s and does not sign %s: %w", in.Ref, in.Usage, what, key.ErrNotAllowed),
		"make a release key with: sealsmith key create NAME --usage artifact")
}

// warnCosign says so when users of cosign will have trouble with the key.
func (a *app) warnCosign(in key.Info) {
	if text := sign.CosignWarning(in.Algorithm); text != "" {
		a.say("sealsmith: warning: %s", text)
	}
}
