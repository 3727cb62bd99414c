package verify

import (
	"errors"
	"fmt"
	"io"

	"github.com/sealsmith/sealsmith/internal/sshsig"
)

// SSH verifies an armored SSHSIG over what r holds. The policy must name
// [SSHSIG]. Refusals wrap [ErrRefused].
func (v *Verifier) SSH(armored []byte, r io.Reader) (*Result, error) {
	if err := v.need(SSHSIG); err != nil {
		return nil, err
	}
	if len(armored) == 0 {
		return nil, refuse(NoSignature, "there is no SSHSIG")
	}
	s, err := sshsig.ParseArmored(armored)
	if errors.Is(err, sshsig.ErrKey) {
		return nil, refuse(WrongKey, "%w", err)
	}
	if err != nil {
		return nil, refuse(Malformed, "%w", err)
	}
	if s.Namespace != v.policy.Namespace {
		return nil, refuse(WrongNamespace, "made for %.200q, want %.200q", s.Namespace, v.policy.Namespace)
	}
	signer, err := v.policy.signer(SSHSIG, s.PublicKey())
	if err != nil {
		return nil, err
	}
	h, err := sshsig.NewHash(s.Hash)
	if err != nil {
		return nil, refuse(Malformed, "%w", err)
	}
	if _, err := io.Copy(h, r); err != nil {
		return nil, fmt.Errorf("read what was signed: %w", err)
	}
	if err := s.Verify(h.Sum(nil)); err != nil {
		return nil, refuse(OtherContent, "the signature by %s is over other content than this file", signer.Fingerprint)
	}
	return &Result{
		Checks: []string{
			fmt.Sprintf("the SSHSIG by %s covers the file (%s)", signer.Fingerprint, s.Hash),
			fmt.Sprintf("the SSHSIG is for the namespace %q", s.Namespace),
			v.policy.trustCheck(signer),
		},
		Signers: []Signer{signer},
	}, nil
}

// trustCheck is the sentence for a signer that [Policy.signer] accepted.
func (p Policy) trustCheck(s Signer) string {
	if p.Trust.allowed == nil {
		return fmt.Sprintf("%s is a trusted key", s.Fingerprint)
	}
	return fmt.Sprintf("%s is a key of %s, valid at %s", s.Fingerprint, s.Identity, p.At.UTC().Format("2006-01-02 15:04:05Z"))
}
