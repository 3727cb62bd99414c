package bundle

import (
	"cmp"
	"slices"
	"time"
)

// Expiring returns the certificates that are no longer valid within this time after
// at, or are not at all any more: the first to expire comes first.
func Expiring(certs []Certificate, at time.Time, within time.Duration) []Certificate {
	var all []Certificate
	for _, c := range certs {
		if !c.X509.NotAfter.After(at.Add(within)) {
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b Certificate) int {
		return cmp.Or(a.X509.NotAfter.Compare(b.X509.NotAfter), cmp.Compare(a.Vendor, b.Vendor), cmp.Compare(a.Name, b.Name))
	})
	return all
}
