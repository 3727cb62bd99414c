package bundle

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Member is a certificate of one or more bundles that are looked at together.
type Member struct {
	Kind Kind // of the bundle that holds it
	Certificate
}

// Members are the certificates of bundles, in the order given.
func Members(bundles ...*Bundle) []Member {
	var all []Member
	for _, b := range bundles {
		for _, c := range b.certs {
			all = append(all, Member{b.header.Kind, c})
		}
	}
	return all
}

// ChangeType says what became of a certificate.
type ChangeType string

// The types of changes, in the order in which [Diff] reports them.
const (
	Added   ChangeType = "added"
	Removed ChangeType = "removed"
	// Reissued: another certificate for the same subject and key.
	Reissued ChangeType = "re-issued"
	// Reencoded: other bytes that say the same. Names (by RFC 5280, section 7.1),
	// key, serial number, validity, algorithm of the signature and extensions are
	// those of the old certificate.
	Reencoded ChangeType = "re-encoded"
	// Moved: the same certificate in the bundle of another kind, perhaps also
	// with another vendor or name.
	Moved ChangeType = "moved"
	// Renamed: the same certificate with another vendor or name.
	Renamed ChangeType = "renamed"
)

// ChangeTypes are all types, in the order in which [Diff] reports them.
func ChangeTypes() []ChangeType {
	return []ChangeType{Added, Removed, Reissued, Reencoded, Moved, Renamed}
}

// Change is one difference between two sets of certificates.
type Change struct {
	Type ChangeType
	Old  *Member // nil if it was added
	New  *Member // nil if it was removed
	// Extensions are those that a re-issued certificate has and the old one had not,
	// or otherwise, or the other way round: by the names of RFC 5280, section 4.2,
	// or else as dotted object identifiers; sorted.
	Extensions []string
	// SameKey is another certificate of the new set with the key of the one that was
	// added or removed, the first in the order of a release; nil if there is none.
	SameKey *Member
}

// Diff says how to make the new set of the old: take Old of each change away and
// put New in. The order within the sets does not matter; what both hold is in no
// change. The error is for a name that cannot be read; no [Bundle] has one.
func Diff(before, after []Member) ([]Change, error) {
	removed, err := newSides(before)
	if err != nil {
		return nil, err
	}
	added, err := newSides(after)
	if err != nil {
		return nil, err
	}
	keys := holders(added)
	var all []Change
	// From what is surely the same to what may be. Within a step those pairs are
	// found first that also kept kind, vendor and name: CAs share keys.
	for _, step := range []struct {
		alike func(side) string
		found ChangeType
	}{
		{func(s side) string { return s.label + s.der }, ""},
		{func(s side) string { return string(s.Kind) + s.der }, Renamed},
		{func(s side) string { return s.der }, Moved},
		{func(s side) string { return s.label + s.meaning }, Reencoded},
		{func(s side) string { return s.meaning }, Reencoded},
		{func(s side) string { return s.label + s.owner }, Reissued},
		{func(s side) string { return s.owner }, Reissued},
	} {
		var pairs []Change
		removed, added, pairs = match(removed, added, step.alike)
		for _, c := range pairs {
			if c.Type = step.found; c.Type != "" {
				c.Extensions = otherExtensions(c.Old.X509, c.New.X509)
				all = append(all, c)
			}
		}
	}
	for _, s := range removed {
		all = append(all, Change{Type: Removed, Old: &s.Member, SameKey: keys.another(s)})
	}
	for _, s := range added {
		all = append(all, Change{Type: Added, New: &s.Member, SameKey: keys.another(s)})
	}
	types := ChangeTypes()
	slices.SortStableFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(slices.Index(types, a.Type), slices.Index(types, b.Type)),
			compareMembers(a.subject(), b.subject()))
	})
	return all, nil
}

// subject is the certificate that the change is about, as it is now.
func (c Change) subject() *Member { return cmp.Or(c.New, c.Old) }

// side is a member with what it is compared by. Each text begins with lengths, so
// that none looks like another.
type side struct {
	Member
	label   string // kind, vendor and name
	der     string
	key     string
	owner   string // subject and key
	meaning string // all but the signature, however it is encoded
}

func newSides(members []Member) ([]side, error) {
	sides := make([]side, len(members))
	for i, m := range members {
		c := m.X509
		n, err := newNode(c)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", m.Vendor, m.Name, err)
		}
		key := publicKey(c)
		owner := joinFields(n.subject, key)
		sides[i] = side{
			Member: m, label: joinFields(string(m.Kind), m.Vendor, m.Name), der: joinFields(string(c.Raw)), key: key, owner: owner,
			meaning: owner + joinFields(n.issuer, c.SerialNumber.String(),
				c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339),
				c.SignatureAlgorithm.String(), joinFields(slices.Sorted(maps.Values(extensionTexts(c)))...)),
		}
	}
	slices.SortFunc(sides, func(a, b side) int { return compareMembers(&a.Member, &b.Member) })
	return sides, nil
}

func joinFields(fields ...string) string {
	var out []byte
	for _, f := range fields {
		out = appendField(out, f)
	}
	return string(out)
}

// publicKey is the key as Go encodes it, because a vendor may encode it otherwise
// the second time; a key that Go does not know is as the certificate has it.
func publicKey(c *x509.Certificate) string {
	if der, err := x509.MarshalPKIXPublicKey(c.PublicKey); err == nil {
		return string(der)
	}
	return string(c.RawSubjectPublicKeyInfo)
}

// keyHolders are, for each key, the first two certificates that have it.
type keyHolders map[string][]side

func holders(sides []side) keyHolders {
	all := keyHolders{}
	for _, s := range sides {
		if some := all[s.key]; len(some) == 0 || len(some) == 1 && some[0].der != s.der {
			all[s.key] = append(some, s)
		}
	}
	return all
}

// another is a certificate with the key of s that is not s.
func (h keyHolders) another(s side) *Member {
	for _, other := range h[s.key] {
		if other.der != s.der {
			return &other.Member
		}
	}
	return nil
}

// compareMembers is the order of a release.
func compareMembers(a, b *Member) int {
	kinds := Kinds()
	return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)),
		cmp.Compare(a.Vendor, b.Vendor), cmp.Compare(a.Name, b.Name), bytes.Compare(a.X509.Raw, b.X509.Raw))
}

// match takes the pairs that are alike out of both lists.
func match(before, after []side, alike func(side) string) (left, right []side, pairs []Change) {
	waiting := map[string][]int{}
	for i, s := range after {
		waiting[alike(s)] = append(waiting[alike(s)], i)
	}
	taken := make([]bool, len(after))
	for _, s := range before {
		key := alike(s)
		if len(waiting[key]) == 0 {
			left = append(left, s)
			continue
		}
		i := waiting[key][0]
		waiting[key] = waiting[key][1:]
		taken[i] = true
		pairs = append(pairs, Change{Old: &s.Member, New: &after[i].Member})
	}
	for i, s := range after {
		if !taken[i] {
			right = append(right, s)
		}
	}
	return left, right, pairs
}
