package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
	"github.com/sealsmith/sealsmith/sign"
)

func (a *app) tpmEnrol() *cobra.Command {
	var f attestationFlags
	var challenge challengeFlags
	var output, keyRef string
	c := &cobra.Command{
		Use:   "enrol EVIDENCE --ca-bundle FILE[,FILE] --pending FILE --answer FILE --key KEY",
		Short: "vouch for the attestation key of a TPM that answered your challenge",
		Long: `Enrol verifies evidence and the answer to your challenge (sealsmith tpm challenge), and
signs, with a key of usage artifact, that the TPM with this EK certificate holds this
attestation key. Whoever trusts your key can then verify evidence of any key of that TPM
without a challenge. EVIDENCE may be - for standard input.

  sealsmith tpm enrol evidence.json --ca-bundle roots.pem,intermediates.pem \
      --pending pending.json --answer answer.json --key enroller --output host.sigstore.json

An enrolment does not expire. The TPM makes another attestation key once it is cleared.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.printRefusal(args[0], a.enrol(cmd.Context(), args[0], f, challenge, keyRef, output))
		},
	}
	f.register(c)
	challenge.register(c)
	c.Flags().StringVar(&output, "output", "-", "write the signed enrolment, a Sigstore bundle, to `FILE`; - is standard output")
	c.Flags().StringVar(&keyRef, "key", "", "sign with `KEY`: a name or id:HEX")
	cobra.CheckErr(c.MarkFlagRequired("key"))
	return c
}

func (a *app) enrol(ctx context.Context, path string, f attestationFlags, challenge challengeFlags, keyRef, output string) error {
	binding, err := challenge.binding()
	if err != nil {
		return err
	}
	if binding.Pending == nil {
		return hint.Wrap(usageError(errors.New("only a TPM that answered your challenge is enrolled")),
			"give --pending FILE and --answer FILE; sealsmith tpm challenge makes the first")
	}
	evidence, err := a.readEvidence(path)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	j, err := f.judge(evidence, now, binding)
	if err != nil {
		return err
	}
	statement, err := provenance.Enrolment{
		EKCertificateSHA256: j.EKCertificateSHA256, AKName: hex.EncodeToString(j.AKName), Time: now,
	}.Statement()
	if err != nil {
		return err
	}
	payload, err := statement.Marshal()
	if err != nil {
		return err
	}
	// Before somebody is asked to sign: he sees there which keys it is about.
	for _, check := range j.checks() {
		a.say("ok: %s", check)
	}
	for _, left := range j.NotChecked {
		a.say("not checked: %s", left)
	}
	k, done, err := a.signer(ctx, keyRef, "enrolment of a TPM")
	if err != nil {
		return err
	}
	defer done()
	if k.Info().Usage != key.Artifact && k.Info().Usage != key.Digest {
		return wrongUsage(k.Info(), "enrolments")
	}
	signed, err := sign.Statement(ctx, k, payload)
	if err != nil {
		return err
	}
	return a.writeResult(output, signed)
}
