package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/oci"
	"github.com/sealsmith/sealsmith/provenance"
	"github.com/sealsmith/sealsmith/sign"
	"github.com/sealsmith/sealsmith/verify"
)

func (a *app) imageSign() *cobra.Command {
	var keyRef string
	c := &cobra.Command{
		Use:   "sign IMAGE --key KEY",
		Short: "sign an image in a registry",
		Long: `Sign signs an image with a key of usage artifact and attaches the signature to it
in the registry, where cosign 3 finds it. A tag is resolved once; what is signed
is the digest, and for an index also the digest of each platform's image, because
admission controllers look at either.

  sealsmith image sign registry.example/app:v1 --key release
  cosign verify --key release.pub --insecure-ignore-tlog registry.example/app:v1

Each signature is read back from the registry and verified.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.signImage(cmd.Context(), args[0], keyRef) },
	}
	c.Flags().StringVar(&keyRef, "key", "", "sign with `KEY`: a name or id:HEX")
	cobra.CheckErr(c.MarkFlagRequired("key"))
	return c
}

func (a *app) signImage(ctx context.Context, ref, keyRef string) error {
	registry := newRegistryClient()
	subject, err := registry.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	images, err := registry.Images(ctx, subject)
	if err != nil {
		return err
	}
	k, done, err := a.signer(ctx, keyRef, ref)
	if err != nil {
		return err
	}
	defer done()
	if k.Info().Usage == key.SSH {
		return wrongUsage(k.Info(), "images")
	}
	a.warnCosign(k.Info())
	trust, err := verify.TrustKeys(k.Info().Public)
	if err != nil {
		return err
	}
	policy := verify.Policy{Trust: trust, Require: []verify.Format{verify.Sigstore}, At: time.Now()}
	for _, s := range append([]oci.Subject{subject}, images...) {
		if err := signSubject(ctx, registry, s, k); err != nil {
			return fmt.Errorf("sign %s: %w", s, err)
		}
		if _, err := verifySubject(ctx, registry, s, policy); err != nil {
			return fmt.Errorf("read back the signature of %s: %w", s, err)
		}
		fmt.Fprintln(a.Out, s)
	}
	return nil
}

// signSubject signs one manifest's digest and attaches the signature.
func signSubject(ctx context.Context, registry *oci.Client, s oci.Subject, k sign.Key) error {
	statement, err := provenance.ImageSignature(s.Digest())
	if err != nil {
		return err
	}
	payload, err := statement.Marshal()
	if err != nil {
		return err
	}
	signed, err := sign.Statement(ctx, k, payload)
	if err != nil {
		return err
	}
	_, err = registry.Attach(ctx, s, signatureArtifact(signed, time.Now()))
	return err
}

// hexDigest is the hexadecimal part of "sha256:HEX".
func hexDigest(s oci.Subject) string { return strings.TrimPrefix(s.Digest(), "sha256:") }
