package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/tpm"
)

func (a *app) tpmAnswer() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "answer CHALLENGE",
		Short: "answer a verifier's challenge",
		Long: `Answer has the TPM decrypt the secret of a challenge (sealsmith tpm challenge), which
it does only if the endorsement key and the attestation key of the evidence are both
in it. CHALLENGE may be - for standard input. One challenge serves all keys of the TPM.

  sealsmith tpm answer challenge.json > answer.json

A challenge for another TPM, or about another attestation key than this device's, is
refused; the exit status is then 5.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			challenge, err := a.readInput(args[0], limits.Challenge)
			if err != nil {
				return err
			}
			client, done, err := a.keys(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			answer, err := client.Answer(cmd.Context(), challenge)
			if err != nil {
				return err
			}
			if _, err := tpm.ParseAnswer(answer); err != nil { // no refusal of ours
				return fmt.Errorf("the agent's answer: %v", err)
			}
			return a.writeResult(output, answer)
		},
	}
	c.Flags().StringVar(&output, "output", "-", "write the answer to `FILE`; - is standard output")
	return c
}
