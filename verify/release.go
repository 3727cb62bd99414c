package verify

import (
	"bytes"
	"fmt"
)

// Release is what a release folder has to say for itself.
type Release struct {
	Sums     []byte // SHA256SUMS
	SSHSIG   []byte // the SSHSIG over it; empty if there is none
	Sigstore []byte // the Sigstore bundle over it; empty if there is none
}

// Release verifies the signatures over a SHA256SUMS file: every format that the
// policy requires must be there and verify, and all be by the same key. It does not
// look at the files that SHA256SUMS names. Refusals wrap [ErrRefused].
func (v *Verifier) Release(r Release) (*Result, error) {
	result := &Result{}
	for _, f := range v.policy.Require {
		var one *Result
		var err error
		switch f {
		case SSHSIG:
			one, err = v.SSH(r.SSHSIG, bytes.NewReader(r.Sums))
		case Sigstore:
			one, err = v.Blob(r.Sigstore, bytes.NewReader(r.Sums))
		}
		if err != nil {
			return nil, fmt.Errorf("%s signature of SHA256SUMS: %w", f, err)
		}
		result.add(one)
		if first := result.Signers[0]; one.Signers[0].Key != first.Key {
			return nil, refuse(WrongKey, "the %s signature of SHA256SUMS is by %s, the %s signature by %s",
				first.Format, first.Fingerprint, f, one.Signers[0].Fingerprint)
		}
	}
	return result, nil
}
