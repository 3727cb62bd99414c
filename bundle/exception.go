package bundle

import (
	"fmt"
	"slices"
	"strings"
)

// exceptionRules are the rules of which a catalog may declare exceptions: what they
// find makes no bundle unsafe, and does not come or go with time.
var exceptionRules = []string{"serial", "key-id", "key-purpose", "not-self-signed", "no-chain", "name-mismatch", "reused-serial"}

// ExceptionRules are the ids of the rules from which an entry of a catalog may declare
// an exception: it says that a finding is known and how the vendor made the
// certificate. They are in the order of [Rules].
func ExceptionRules() []string { return slices.Clone(exceptionRules) }

// CheckException says why an entry cannot declare an exception from a rule.
func CheckException(id string) error {
	switch {
	case slices.Contains(exceptionRules, id):
		return nil
	case id == ruleSHA1Pin || slices.ContainsFunc(Rules(), func(r Rule) bool { return r.ID == id }):
		return fmt.Errorf("no exception from rule %q can be declared", id)
	}
	return fmt.Errorf("exception %s is no rule; a catalog may declare %s", quote(id), strings.Join(exceptionRules, ", "))
}

// forgives says whether a finding of a rule is a declared one. What is declared may
// come from a stranger's index.
func (o VetOptions) forgives(id, digest string) bool {
	return slices.Contains(exceptionRules, id) && slices.Contains(o.Exceptions[digest], id)
}

// vetExceptions warns of declared exceptions that do not apply: the certificate was
// mended, or another was meant.
func vetExceptions(entries []Entry, digests []string, findings []Finding) []Finding {
	found := map[[2]string]bool{}
	for _, f := range findings {
		found[[2]string{f.SHA256, f.Rule}] = true
	}
	var all []Finding
	for i, e := range entries {
		for _, id := range slices.Sorted(slices.Values(e.Exceptions)) { // a set has one order
			if !found[[2]string{digests[i], id}] {
				all = append(all, Finding{
					Rule: "exception", Severity: Warning, Vendor: e.Vendor, Name: e.Name, SHA256: digests[i], Line: e.Line,
					Text: "declares an exception from " + id + ", which has nothing against it",
				})
			}
		}
	}
	return all
}
