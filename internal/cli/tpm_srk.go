package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/tpm"
)

func (a *app) tpmSRK() *cobra.Command {
	return &cobra.Command{
		Use:   "srk",
		Short: "print the public storage key of the TPM",
		Long: `Srk prints, as PEM, the public key that others need to wrap keys for this TPM. It is
no secret, but it must reach them unchanged: whoever can put another one in its place
gets the keys. Its Name, which is printed beside it, is for comparing by another way.

  tpm-machine$   sealsmith tpm srk > parent.pem
  other-machine$ sealsmith key create laptop --usage ssh --wrap-for parent.pem --output laptop.tpm
  tpm-machine$   sealsmith key import laptop laptop.tpm`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, done, err := a.keys(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			device, storage, err := storageOf(cmd.Context(), client)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					Device string `json:"device"`
					tpm.Storage
				}{device, storage})
			}
			a.say("storage key %s of %s", storage.Name, device)
			_, err = a.Out.Write(storage.PEM())
			return err
		},
	}
}

// storageOf asks for the storage key of the device.
func storageOf(ctx context.Context, client *agent.Client) (device string, s tpm.Storage, err error) {
	answer, err := client.Storage(ctx)
	if err != nil {
		return "", s, err
	}
	if err := json.Unmarshal(answer.Storage, &s); err != nil {
		return "", s, fmt.Errorf("storage key of %s: %w", answer.Device, err)
	}
	// Others wrap keys for what is printed.
	parent, err := tpm.ParseStorage(s.PEM())
	if err != nil { // no wrong usage of ours
		return "", s, fmt.Errorf("storage key of %s: %v", answer.Device, err)
	}
	if name, err := tpm.StorageName(parent); err != nil || name != s.Name {
		return "", s, fmt.Errorf("storage key of %s: it has another Name than %.80q", answer.Device, s.Name)
	}
	return answer.Device, s, nil
}
