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
// policy requires must be there and verify. It does not look at the files that
// SHA256SUMS names. Refusals wrap [ErrRefused].
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
	}
	return result, nil
}
