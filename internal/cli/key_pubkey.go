package cli

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/key"
)

func (a *app) keyPubkey() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "pubkey KEY",
		Short: "print a public key",
		Long: `Pubkey prints a public key as OpenSSH's line or as PEM (SubjectPublicKeyInfo). It
uses neither the agent nor the device.

  sealsmith key pubkey laptop | ssh server.example 'cat >> .ssh/authorized_keys'
  sealsmith key pubkey release --format pem > release.pub`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKeys,
		RunE: func(_ *cobra.Command, args []string) error {
			in, err := keyInfo(args[0])
			if err != nil {
				return err
			}
			if a.json {
				shown, err := newKeyJSON(in)
				if err != nil {
					return err
				}
				return a.printJSON(shown)
			}
			switch format {
			case "openssh":
				line, err := publicKeyLine(in)
				if err != nil {
					return err
				}
				fmt.Fprintln(a.Out, line)
				return nil
			case "pem":
				der, err := x509.MarshalPKIXPublicKey(in.Public)
				if err != nil {
					return err
				}
				return pem.Encode(a.Out, &pem.Block{Type: "PUBLIC KEY", Bytes: der})
			}
			return usageError(fmt.Errorf("format %.40q is neither openssh nor pem", format))
		},
	}
	c.Flags().StringVar(&format, "format", "openssh", "openssh or pem")
	return c
}

// publicKeyLine is the key as it stands in authorized_keys, without a line end.
func publicKeyLine(in key.Info) (string, error) {
	line, err := sshwire.AuthorizedKey(in.Public, in.Comment)
	return string(bytes.TrimSuffix(line, []byte("\n"))), err
}
