package verify

import (
	"slices"

	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/provenance"
)

// Result is what a successful verification established.
type Result struct {
	// Checks are the checks that were made and passed, each a sentence for
	// people.
	Checks []string
	// Signers made the signatures that were checked, one for each.
	Signers []Signer
	// Statement is the signed statement; nil unless one was verified.
	Statement *provenance.Statement
}

// Signer is who made a signature.
type Signer struct {
	Format      Format
	Key         key.ID
	Fingerprint string // of the key, as ssh-keygen -l prints it
	Identity    string // from the policy; empty when it trusts keys alone
}

func (r *Result) add(other *Result) {
	for _, check := range other.Checks {
		if !slices.Contains(r.Checks, check) { // both formats say whose the key is
			r.Checks = append(r.Checks, check)
		}
	}
	r.Signers = append(r.Signers, other.Signers...)
}
