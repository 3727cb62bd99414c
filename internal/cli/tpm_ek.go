package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/tpm"
)

// tpmEKFlags are the flags of `tpm ek`.
type tpmEKFlags struct {
	pin    bool
	ca     caBundle
	export string
}

func (a *app) tpmEK() *cobra.Command {
	var f tpmEKFlags
	c := &cobra.Command{
		Use:   "ek",
		Short: "show the endorsement keys of the TPM, and pin it by one",
		Long: `Ek shows the certificates by which the maker of the TPM vouches for it. They identify
this machine for as long as it has this TPM: send them only to whoever enrols it.

  sealsmith tpm ek
  sealsmith tpm ek --export ek.pem
  sealsmith tpm ek --pin --ca-bundle roots.pem,intermediates.pem

When a TPM is used for the first time, its storage key is remembered and from then on no
other is trusted. Something that posed as the TPM at that time would be trusted too.
With --pin an endorsement key whose certificate leads to a root of the CA bundle proves
which storage key is the TPM's own, and that is remembered instead. If it is another
than the one that was used so far, the exit status is 5: something poses as your TPM,
or did. If no certificate leads to a root, it is 3.

TPMs of virtual machines often have no certificate; then nobody vouches for them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.endorsementKeys(cmd.Context(), f) },
	}
	f.ca.register(c)
	c.Flags().BoolVar(&f.pin, "pin", false, "trust the TPM with the best of these keys, and no other, as this device")
	c.Flags().StringVar(&f.export, "export", "", "write the certificates, and those of issuers in the TPM, to `FILE` in PEM; - is standard output")
	c.MarkFlagsMutuallyExclusive("pin", "export")
	return c
}

func (a *app) endorsementKeys(ctx context.Context, f tpmEKFlags) error {
	var anchors *bundle.Anchors
	if f.pin || len(f.ca.files) > 0 {
		var err error
		if anchors, err = f.ca.anchors(); err != nil {
			return err
		}
	}
	client, done, err := a.keys(ctx)
	if err != nil {
		return err
	}
	defer done()
	keys, err := endorsementKeysOf(ctx, client)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		if f.pin || f.export != "" {
			return errNoEK
		}
		if !a.json {
			a.say("%v: nobody vouches for it", errNoEK)
		}
	}
	switch {
	case f.pin:
		return a.pinDevice(ctx, client, keys, anchors)
	case f.export != "":
		return a.writeResult(f.export, encodeEKs(keys))
	}
	return a.printEKs(keys, anchors)
}

var errNoEK = hint.Wrap(errors.New("this TPM has no EK certificate"), "TPMs of virtual machines often have none; nobody vouches for such a TPM")

func endorsementKeysOf(ctx context.Context, client *agent.Client) ([]tpm.EK, error) {
	answer, err := client.EndorsementKeys(ctx)
	if err != nil {
		return nil, err
	}
	var keys []tpm.EK
	if err := json.Unmarshal(answer.Keys, &keys); err != nil {
		return nil, fmt.Errorf("endorsement keys of %s: %w", answer.Device, err)
	}
	return keys, nil
}

// pinDevice pins the device by the first key that is the TPM of a maker in the
// bundle.
func (a *app) pinDevice(ctx context.Context, client *agent.Client, keys []tpm.EK, anchors *bundle.Anchors) error {
	var refused error
	for _, k := range keys {
		chain, err := verifyEK(k, anchors)
		if err != nil {
			refused = errors.Join(refused, fmt.Errorf("%s (%s): %w", k.Template, k.Algorithm, err))
			continue
		}
		if err := client.Pin(ctx, k.SHA256); err != nil {
			return err
		}
		a.say("ok: the CA bundle is %s, the root %.200q", anchors.Digest(), rootOf(chain))
		a.say("ok: the TPM with the EK certificate %s is the one that is used", k.SHA256)
		return nil
	}
	return adviseCA(&tpm.Refusal{Reason: tpm.EKUntrusted, Err: fmt.Errorf("under the CA bundle %s: %w", anchors.Digest(), refused)})
}

// verifyEK verifies a certificate that the TPM holds, with the issuers that it
// holds, as of now.
func verifyEK(k tpm.EK, anchors *bundle.Anchors) (*bundle.EKChain, error) {
	if k.Problem != "" {
		return nil, errors.New(k.Problem)
	}
	leaf, err := x509.ParseCertificate(k.Certificate)
	if err != nil {
		return nil, err
	}
	return anchors.VerifyEK(leaf, helpersOf(k), time.Now())
}

// helpersOf are the certificates of issuers that the TPM holds.
func helpersOf(k tpm.EK) []*x509.Certificate {
	var helpers []*x509.Certificate
	for _, der := range k.Intermediates {
		if c, err := x509.ParseCertificate(der); err == nil { // others are nobody's issuer
			helpers = append(helpers, c)
		}
	}
	return helpers
}

func rootOf(chain *bundle.EKChain) string {
	return chain.Certificates[len(chain.Certificates)-1].Subject.String()
}

// encodeEKs is the certificates in PEM, each once.
func encodeEKs(keys []tpm.EK) []byte {
	var out bytes.Buffer
	seen := map[string]bool{}
	add := func(der []byte) {
		if len(der) > 0 && !seen[string(der)] {
			seen[string(der)] = true
			pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a Buffer does not fail
		}
	}
	for _, k := range keys {
		add(k.Certificate)
	}
	for _, k := range keys {
		for _, der := range k.Intermediates {
			add(der)
		}
	}
	return out.Bytes()
}

// ekJSON is the --json form of an endorsement key.
type ekJSON struct {
	tpm.EK
	Manufacturer string    `json:"manufacturer,omitempty"` // all four as the certificate says
	Model        string    `json:"model,omitempty"`
	Version      string    `json:"version,omitempty"`
	NotBefore    time.Time `json:"not_before,omitzero"`
	NotAfter     time.Time `json:"not_after,omitzero"`
	Root         string    `json:"root,omitempty"`    // with --ca-bundle: that it leads to
	Refused      string    `json:"refused,omitempty"` // with --ca-bundle: why it leads to none
}

// describeEK adds what the certificate says, and what the CA bundle says of it.
func describeEK(k tpm.EK, anchors *bundle.Anchors) ekJSON {
	j := ekJSON{EK: k}
	if leaf, err := x509.ParseCertificate(k.Certificate); err == nil {
		j.NotBefore, j.NotAfter = leaf.NotBefore.UTC(), leaf.NotAfter.UTC()
		if said, err := bundle.DescribeEK(leaf); err == nil {
			j.Manufacturer, j.Model, j.Version = said.Manufacturer, said.Model, said.Version
			if said.Vendor != "" {
				j.Manufacturer += " " + said.Vendor
			}
		}
	}
	if anchors == nil {
		return j
	}
	if chain, err := verifyEK(k, anchors); err != nil {
		j.Refused = err.Error()
	} else {
		j.Root = rootOf(chain)
	}
	return j
}

func (a *app) printEKs(keys []tpm.EK, anchors *bundle.Anchors) error {
	list := make([]ekJSON, len(keys))
	for i, k := range keys {
		list[i] = describeEK(k, anchors)
	}
	if a.json {
		return a.printJSON(list)
	}
	var text strings.Builder
	for i, j := range list {
		if i > 0 {
			fmt.Fprintln(&text)
		}
		fmt.Fprintf(&text, "%s\n", printable(fmt.Sprintf("%s (%s)", j.Algorithm, j.Template)))
		for _, row := range j.rows() {
			if row[1] != "" {
				fmt.Fprintf(&text, "  %-14s  %s\n", row[0], printable(row[1]))
			}
		}
	}
	_, err := a.Out.Write([]byte(text.String()))
	return err
}

func (j ekJSON) rows() [][2]string {
	valid := ""
	if !j.NotAfter.IsZero() {
		valid = j.NotBefore.Format(time.DateOnly) + " to " + j.NotAfter.Format(time.DateOnly)
	}
	rows := [][2]string{
		{"NV index", fmt.Sprintf("0x%08x", j.Index)},
		{"problem", j.Problem},
		{"manufacturer", j.Manufacturer},
		{"model", j.Model},
		{"firmware", j.Version},
		{"valid", valid},
		{"SHA-256", j.SHA256},
	}
	for _, c := range helpersOf(j.EK) {
		rows = append(rows, [2]string{"issuer in TPM", fmt.Sprintf("%.200q", c.Subject.String())})
	}
	if j.Root != "" {
		rows = append(rows, [2]string{"root", fmt.Sprintf("%.200q", j.Root)})
	}
	return append(rows, [2]string{"refused", j.Refused}, [2]string{"pinned", yesNo(j.Pinned)})
}
