package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

func (a *app) keyAttest() *cobra.Command {
	var nonce, output string
	c := &cobra.Command{
		Use:   "attest KEY",
		Short: "have the TPM vouch for a key",
		Long: `Attest prints evidence that a key was made in this TPM and cannot leave it, for
sealsmith key verify-attestation. A verifier gives a nonce, if the evidence must be
fresh.

  sealsmith key attest release --nonce 5d41402abc4b2a76 > evidence.json

The evidence has the EK certificate of the TPM, which identifies this machine for as
long as it has this TPM: send it only to who is to verify it. It proves nothing before
the verifier has challenged the TPM, once (sealsmith tpm answer), or trusts somebody
who did.

Keys that were imported are refused, for copies of them may exist, and so are all keys
of a TPM without an EK certificate (sealsmith tpm ek). A key with a PIN asks for it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			octets, err := parseNonce(nonce)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("nonce") && nonce == "" { // a script's mistake
				return usageError(errors.New("--nonce is empty"))
			}
			ref, err := key.ParseRef(args[0])
			if err != nil {
				return err
			}
			evidence, err := a.attest(cmd.Context(), ref, octets)
			if err != nil {
				return err
			}
			return a.writeResult(output, evidence)
		},
	}
	c.Flags().StringVar(&nonce, "nonce", "", "make it for this nonce, up to 32 bytes in `HEX`")
	c.Flags().StringVar(&output, "output", "-", "write the evidence to `FILE`; - is standard output")
	return c
}

func (a *app) attest(ctx context.Context, ref key.Ref, nonce []byte) ([]byte, error) {
	client, done, err := a.keys(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	in, err := client.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	if a.noPrompt && in.Policy.PIN {
		return nil, hint.Wrap(fmt.Errorf("%s has a PIN, and --no-prompt was given: %w", in.Ref, key.ErrDenied),
			"attest it without --no-prompt, or a key without a PIN")
	}
	evidence, err := client.Attest(ctx, in, nonce)
	if err != nil {
		return nil, err
	}
	if _, err := tpm.ParseEvidence(evidence); err != nil { // no refusal of ours
		return nil, fmt.Errorf("the agent's evidence: %v", err)
	}
	return evidence, nil
}
