package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/atomicfile"
	"github.com/sealsmith/sealsmith/tpm"
)

func (a *app) tpmChallenge() *cobra.Command {
	var f attestationFlags
	var output, pending string
	c := &cobra.Command{
		Use:   "challenge EVIDENCE --ca-bundle FILE[,FILE] --pending FILE",
		Short: "challenge the TPM that evidence is said to come from",
		Long: `Challenge verifies evidence but for one thing, in which TPM the attestation key is,
and makes a challenge that only the TPM of the EK certificate can answer, and only if
the attestation key is in it. It needs no device. EVIDENCE may be - for standard input.

  sealsmith tpm challenge evidence.json --ca-bundle roots.pem,intermediates.pem \
      --pending pending.json > challenge.json

Send challenge.json to whoever has the TPM, who runs sealsmith tpm answer. Keep
pending.json to yourself: whoever can change it can answer for any TPM. With the answer,
within a day, go on with sealsmith key verify-attestation or sealsmith tpm enrol.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.printRefusal(args[0], a.challenge(args[0], f, output, pending))
		},
	}
	f.register(c)
	c.Flags().StringVar(&output, "output", "-", "write the challenge to `FILE`; - is standard output")
	c.Flags().StringVar(&pending, "pending", "", "keep in `FILE` what the answer is checked with")
	cobra.CheckErr(c.MarkFlagRequired("pending"))
	return c
}

func (a *app) challenge(path string, f attestationFlags, output, pending string) error {
	if err := checkPending(pending, path, output); err != nil {
		return err
	}
	evidence, err := a.readEvidence(path)
	if err != nil {
		return err
	}
	now := time.Now()
	j, err := f.judge(evidence, now, tpm.Binding{UnboundUnsafe: true})
	if err != nil {
		return err
	}
	challenge, kept, err := tpm.NewChallenge(evidence, now)
	if err != nil {
		return err
	}
	data, err := kept.Encode()
	if err != nil {
		return err
	}
	if err := atomicfile.Write(pending, data, 0o600); err != nil {
		return fmt.Errorf("--pending: %w", err)
	}
	if data, err = challenge.Encode(); err != nil {
		return err
	}
	for _, check := range j.checks() {
		a.say("ok: %s", check)
	}
	a.say("not checked: in which TPM the attestation key is; the answer will show it")
	return a.writeResult(output, data)
}

// checkPending says why the secret of a challenge cannot be kept in a file: it would
// take the place of a device, or another file of the command that of it.
func checkPending(pending string, others ...string) error {
	info, err := os.Stat(pending)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("--pending: %s is not a regular file", pending)
	}
	for _, other := range others {
		same, _ := os.Stat(other) // it may be there or not
		if filepath.Clean(other) == filepath.Clean(pending) || err == nil && os.SameFile(info, same) {
			return usageError(fmt.Errorf("--pending: %s is another file of this command", pending))
		}
	}
	return nil
}
