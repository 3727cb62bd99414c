package cli

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/provenance"
	"github.com/sealsmith/sealsmith/tpm"
	"github.com/sealsmith/sealsmith/verify"
)

// attestationFlags say what evidence must show, but for the binding of its
// attestation key.
type attestationFlags struct {
	command *cobra.Command
	ca      caBundle
	nonce   string
}

func (f *attestationFlags) register(c *cobra.Command) {
	f.command = c
	f.ca.register(c)
	c.Flags().StringVar(&f.nonce, "nonce", "", "the evidence must have been made for this nonce, in `HEX`; without it, it may be old")
}

// judged is evidence that was verified.
type judged struct {
	*tpm.Verified
	chain  *bundle.EKChain
	digest string // of the CA bundle
}

// judge verifies evidence.
func (f *attestationFlags) judge(e *tpm.Evidence, at time.Time, binding tpm.Binding) (*judged, error) {
	var nonce []byte
	if f.command.Flags().Changed("nonce") { // an empty one is a script's mistake
		var err error
		if nonce, err = parseNonce(f.nonce); err != nil {
			return nil, err
		}
	}
	anchors, err := f.ca.anchors()
	if err != nil {
		return nil, err
	}
	j := &judged{digest: anchors.Digest()}
	j.Verified, err = tpm.VerifyAttestation(e, tpm.VerifyOptions{
		At: at, Nonce: nonce, Binding: binding,
		VerifyEK: func(leaf *x509.Certificate, intermediates []*x509.Certificate, at time.Time) (err error) {
			if j.chain, err = anchors.VerifyEK(leaf, intermediates, at); err != nil {
				return adviseCA(fmt.Errorf("by the CA bundle %s: %w", j.digest, err))
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	j.NotChecked = append(j.NotChecked, "whether a maker revoked a certificate")
	return j, nil
}

// parseNonce reads a --nonce.
func parseNonce(text string) ([]byte, error) {
	nonce, err := hex.DecodeString(text)
	if err != nil {
		return nil, usageError(fmt.Errorf("--nonce %.80q is not hexadecimal, two digits a byte", text))
	}
	return nonce, nil
}

// adviseCA tells what an EK certificate without its issuer often means.
func adviseCA(err error) error {
	var refused *bundle.EKError
	if errors.As(err, &refused) && refused.Reason == bundle.IssuerMissing {
		return hint.Wrap(err, "give the intermediates too: --ca-bundle roots.pem,intermediates.pem",
			"if they were given, the CA bundle has no CA of this TPM's maker")
	}
	return err
}

// checks are what was checked, the CA bundle first.
func (j *judged) checks() []string {
	first := []string{fmt.Sprintf("the CA bundle is %s, the root %.200q", j.digest, rootOf(j.chain))}
	if j.chain.Manufacturer != "" {
		first = append(first, fmt.Sprintf("by the EK certificate, the TPM is by %.80q, model %.80q, firmware %.80q",
			j.chain.Manufacturer, j.chain.Model, j.chain.Version))
	}
	return append(first, j.Checks...)
}

// challengeFlags name the verifier's own challenge and its answer.
type challengeFlags struct {
	pending, answer string
}

func (f *challengeFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.pending, "pending", "", "`FILE` that you kept of the challenge; never one that somebody sent")
	c.Flags().StringVar(&f.answer, "answer", "", "`FILE` with the TPM's answer (sealsmith tpm answer)")
}

func (f *challengeFlags) binding() (tpm.Binding, error) {
	var b tpm.Binding
	if (f.pending == "") != (f.answer == "") {
		return b, usageError(errors.New("--pending and --answer belong together"))
	}
	if f.pending == "" {
		return b, nil
	}
	// Whoever can write this file can answer for any TPM.
	if err := xdg.OwnFile(f.pending); err != nil {
		return b, fmt.Errorf("--pending: %w", err)
	}
	data, err := readFile(f.pending, limits.Challenge)
	if err != nil {
		return b, err
	}
	if b.Pending, err = tpm.ParsePending(data); err != nil {
		return b, err
	}
	if data, err = readFile(f.answer, limits.Challenge); err != nil {
		return b, err
	}
	b.Answer, err = tpm.ParseAnswer(data)
	return b, err
}

// enrolmentNamespace is the namespace of enrolments in allowed signers files.
const enrolmentNamespace = "sealsmith-enrolment"

// enrolmentFlags name an enrolment and those whose word counts.
type enrolmentFlags struct {
	file  string
	trust trustFlags
}

func (f *enrolmentFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "enrolment", "", "`FILE` with the signed enrolment of the TPM (sealsmith tpm enrol)")
	f.trust.register(c, "enroller")
	c.Flags().Lookup("time").Usage = "verify as at `TIME` (RFC 3339) instead of now"
}

// read verifies the enrolment, if there is one, and that it is about the TPM of
// the evidence. The result says who signed it.
func (f *enrolmentFlags) read(e *tpm.Evidence) ([]tpm.Enrolment, *verify.Result, error) {
	if f.file == "" {
		if len(f.trust.keys) > 0 || f.trust.allowedSigners != "" {
			return nil, nil, hint.Wrap(usageError(errors.New("there is no enrolment for the enroller to vouch for")), "give --enrolment FILE")
		}
		return nil, &verify.Result{}, nil
	}
	policy, err := f.trust.policy("")
	if err != nil {
		return nil, nil, err
	}
	policy.Require, policy.Namespace = []verify.Format{verify.Sigstore}, enrolmentNamespace
	verifier, err := verify.New(policy)
	if err != nil {
		return nil, nil, err
	}
	data, err := readFile(f.file, limits.SigstoreBundle)
	if err != nil {
		return nil, nil, err
	}
	result, err := verifier.Statement(data, provenance.EnrolmentType, e.EKCertificateSHA256())
	if err != nil {
		return nil, nil, fmt.Errorf("enrolment %s: %w", f.file, adviseNamespace(ofEnrolment(err)))
	}
	enrolment, err := provenance.ParseEnrolment(result.Statement)
	if err != nil {
		return nil, nil, fmt.Errorf("enrolment %s: %w", f.file, refused(verify.WrongStatement, "%w", err))
	}
	return []tpm.Enrolment{tpm.Enrolment(enrolment)}, result, nil
}

// ofEnrolment gives the enrolment of another TPM the reason that it has among
// those of evidence.
func ofEnrolment(err error) error {
	var refusal *verify.Refusal
	if errors.As(err, &refusal) && refusal.Reason == verify.OtherContent {
		return &tpm.Refusal{Reason: tpm.EnrolmentMismatch, Err: fmt.Errorf("of the TPM with another EK certificate: %w", refusal.Err)}
	}
	return err
}

// adviseNamespace tells which namespace enrolments have.
func adviseNamespace(err error) error {
	var refusal *verify.Refusal
	if errors.As(err, &refusal) && refusal.Reason == verify.WrongNamespace {
		return hint.Wrap(err, "the line of an enroller needs namespaces=\""+enrolmentNamespace+"\" in the allowed signers file, or no namespaces")
	}
	return err
}

// readEvidence reads evidence from a file or, for "-", standard input.
func (a *app) readEvidence(path string) (*tpm.Evidence, error) {
	data, err := a.readInput(path, limits.Evidence)
	if err != nil {
		return nil, err
	}
	return tpm.ParseEvidence(data)
}
