package cli

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/internal/sshsig"
	"github.com/sealsmith/sealsmith/internal/sshwire"
	"github.com/sealsmith/sealsmith/tpm"
	"github.com/sealsmith/sealsmith/verify"
)

func (a *app) keyVerifyAttestation() *cobra.Command {
	var f attestationFlags
	var challenge challengeFlags
	var enrolment enrolmentFlags
	var unbound bool
	c := &cobra.Command{
		Use:   "verify-attestation EVIDENCE --ca-bundle FILE[,FILE] (--pending FILE --answer FILE | --enrolment FILE --enroller FILE)",
		Short: "verify that a key lives in a TPM",
		Long: `Verify-attestation decides whether evidence (sealsmith key attest) proves that a key
was made in a TPM of a maker you trust and cannot leave it. It needs no device.
EVIDENCE may be - for standard input.

An EK certificate is public, so evidence alone does not show whose it is. Either
challenge the TPM yourself; its answer is good for a day, and for all its keys:

  sealsmith tpm challenge evidence.json --ca-bundle roots.pem,intermediates.pem \
      --pending pending.json > challenge.json
  sealsmith tpm answer challenge.json > answer.json           # where the TPM is
  sealsmith key verify-attestation evidence.json --ca-bundle roots.pem,intermediates.pem \
      --pending pending.json --answer answer.json

or trust somebody who did and signed an enrolment (sealsmith tpm enrol):

  sealsmith key verify-attestation evidence.json --ca-bundle roots.pem,intermediates.pem \
      --enrolment host.sigstore.json --enroller enroller.pub

Each check that was made is printed, then what was not checked, then the key as an
OpenSSH line, with --quiet that line alone. A key in a TPM need not have a PIN, and its
machine need not be clean: nothing here can show that.

Exit status 3 means that the evidence was refused; the reason is printed. With
--unbound-unsafe, evidence that is refused only as ak-not-bound is shown all the same;
the exit status is still 3.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			j, enroller, err := a.verifyAttestation(args[0], f, challenge, enrolment, unbound)
			if j == nil {
				return a.printRefusal(args[0], err)
			}
			return a.printAttested(j, enroller, err)
		},
	}
	f.register(c)
	challenge.register(c)
	enrolment.register(c)
	c.Flags().BoolVar(&unbound, "unbound-unsafe", false, "show evidence that anybody may have made up")
	return c
}

// verifyAttestation verifies evidence. A result with an error is evidence that was
// refused only because nothing binds its attestation key.
func (a *app) verifyAttestation(path string, f attestationFlags, challenge challengeFlags, enrolment enrolmentFlags, unbound bool) (*judged, *verify.Result, error) {
	if challenge.pending != "" && enrolment.file != "" {
		return nil, nil, usageError(errors.New("--pending and --enrolment are two ways to show in which TPM the attestation key is; give one"))
	}
	binding, err := challenge.binding()
	if err != nil {
		return nil, nil, err
	}
	at, err := enrolment.trust.when()
	if err != nil {
		return nil, nil, err
	}
	evidence, err := a.readEvidence(path)
	if err != nil {
		return nil, nil, err
	}
	var enroller *verify.Result
	if binding.Enrolments, enroller, err = enrolment.read(evidence); err != nil {
		return nil, nil, err
	}
	j, err := f.judge(evidence, at, binding)
	var refusal *tpm.Refusal
	if !unbound || !errors.As(err, &refusal) || refusal.Reason != tpm.AKNotBound {
		return j, enroller, err
	}
	shown, failed := f.judge(evidence, at, tpm.Binding{UnboundUnsafe: true})
	return shown, enroller, cmp.Or(failed, err)
}

// attestedJSON is the key that evidence is about, in the --json form. For evidence
// that was refused it has another name there, so that nobody takes it for verified.
type attestedJSON struct {
	KeyID               string `json:"key_id"`
	Fingerprint         string `json:"fingerprint"`
	PublicKey           string `json:"public_key"` // as OpenSSH writes it
	Algorithm           string `json:"algorithm"`
	Usage               string `json:"usage,omitempty"` // its label; none: made by other software
	Uncounted           bool   `json:"uncounted"`       // wrong PINs are not counted
	Name                string `json:"name"`            // in the TPM
	PolicyDigest        string `json:"policy_digest,omitempty"`
	AKName              string `json:"ak_name"`
	EKCertificateSHA256 string `json:"ek_certificate_sha256"`
	Manufacturer        string `json:"manufacturer,omitempty"`
	Model               string `json:"model,omitempty"`
	Firmware            string `json:"firmware,omitempty"`
	CABundle            string `json:"ca_bundle"`          // digests of its files
	BoundBy             string `json:"bound_by,omitempty"` // challenge or enrolment; none: proves nothing
}

// printAttested prints what evidence proved and, for people, the key itself; with
// a refusal, what the evidence claims.
func (a *app) printAttested(j *judged, enroller *verify.Result, refusal error) error {
	line, err := sshwire.AuthorizedKey(j.Key, "")
	if err != nil {
		return err
	}
	attested, err := newAttestedJSON(j, strings.TrimSpace(string(line)))
	if err != nil {
		return err
	}
	r := resultJSON{
		Subject: fmt.Sprintf("the key id:%s (%s, usage %s, %s)", j.ID.Short(), j.Algorithm, cmp.Or(attested.Usage, "not labelled"), attested.Fingerprint),
		Checks:  append(j.checks(), enroller.Checks...), NotChecked: j.NotChecked, Signers: signersJSON(enroller.Signers), Attested: attested,
	}
	if refusal != nil {
		return errors.Join(refusal, a.printClaim(r, refusal))
	}
	if err := a.printResult(r); err != nil || a.json {
		return err
	}
	_, err = a.Out.Write(line)
	return err
}

// printClaim prints the result of a verification that ended with a refusal.
func (a *app) printClaim(r resultJSON, refusal error) error {
	if a.json {
		r.Attested, r.Claimed = nil, r.Attested
		r.Reason, r.Error = string(tpm.AKNotBound), refusal.Error()
		return a.printJSON(r)
	}
	a.printChecks(r)
	_, err := fmt.Fprintf(a.Out, "claimed, not verified: %s\n", r.Subject)
	return err
}

func newAttestedJSON(j *judged, line string) (*attestedJSON, error) {
	fingerprint, err := sshsig.Fingerprint(j.Key)
	if err != nil {
		return nil, err
	}
	return &attestedJSON{
		KeyID: string(j.ID), Fingerprint: fingerprint, PublicKey: line,
		Algorithm: string(j.Algorithm), Usage: string(j.Usage), Uncounted: j.Uncounted,
		Name: hex.EncodeToString(j.Name), PolicyDigest: hex.EncodeToString(j.PolicyDigest),
		AKName: hex.EncodeToString(j.AKName), EKCertificateSHA256: j.EKCertificateSHA256,
		Manufacturer: j.chain.Manufacturer, Model: j.chain.Model, Firmware: j.chain.Version,
		CABundle: j.digest, BoundBy: string(j.BoundBy),
	}, nil
}
