package bundle

import (
	"crypto/ed25519"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// otherKey makes certificates of a CA that is not that of throwawayKey.
var otherKey = ed25519.NewKeyFromSeed(slices.Repeat([]byte{1}, ed25519.SeedSize))

func TestDiff(t *testing.T) {
	ca := testCA(t, "IFX", 1)
	again := template(2, "IFX CA 1")
	again.NotAfter = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	reissued := Certificate{"IFX", "IFX CA 1 (2050)", selfSigned(t, again)}
	// A serial number that was used before makes no other certificate the same.
	reused := template(1, "IFX CA 1")
	reused.NotAfter = again.NotAfter
	sameSerial := Certificate{"IFX", "IFX CA 1", selfSigned(t, reused)}
	// The same words in another type of string, and so another signature.
	odd := template(1, "IFX CA 1")
	odd.RawSubject = marshalName(t, asn1.TagUTF8String, "DE", "Example,  Inc.", "IFX CA 1")
	reencoded := Certificate{"IFX", "IFX CA 1", selfSigned(t, odd)}
	twice := template(1, "IFX CA 1")
	twice.RawSubject = marshalName(t, asn1.TagUTF8String, "DE", "EXAMPLE, Inc.", "IFX CA 1")
	reencodedTwice := Certificate{"IFX", "B", selfSigned(t, twice)}
	crossSigned := Certificate{"IFX", "IFX CA 1", issue(t, template(1, "IFX CA 1"), template(9, "Another CA"))}
	// The same serial number and validity, and the right to issue more.
	longer := template(1, "IFX CA 1")
	longer.MaxPathLen = 1
	longer.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}}
	lengthened := Certificate{"IFX", "IFX CA 1", selfSigned(t, longer)}
	another := template(1, "Another subject")
	alias := Certificate{"IFX", "Another subject", selfSigned(t, another)}
	rekeyed := Certificate{"IFX", "IFX CA 1", signedBy(t, template(1, "IFX CA 1"), otherKey)}
	renamed, sold, reencodedRenamed := ca, ca, reencoded
	renamed.Name, sold.Vendor = "Another name", "INTC"
	reencodedRenamed.Name = "Another name"
	// Certificates called A and B that only their names tell apart.
	a, b, encodedB, nextB := ca, reissued, reencoded, sameSerial
	a.Name, b.Name, encodedB.Name, nextB.Name = "A", "B", "B", "B"

	root, other := Member{Roots, ca}, Member{Roots, testCA(t, "AMD", 7)}
	for name, c := range map[string]diffCase{
		"same":      {[]Member{root, other}, []Member{other, root}, nil},
		"added":     {[]Member{root}, []Member{root, other}, []Change{{Type: Added, New: &other, SameKey: &root}}},
		"removed":   {[]Member{root, other}, []Member{root}, []Change{{Type: Removed, Old: &other, SameKey: &root}}},
		"re-issued": pair(Reissued, root, Member{Roots, reissued}),
		// Not re-encoded: it says another end.
		"same serial":       pair(Reissued, root, Member{Roots, sameSerial}),
		"re-encoded":        pair(Reencoded, root, Member{Roots, reencoded}),
		"renamed":           pair(Renamed, root, Member{Roots, renamed}),
		"sold":              pair(Renamed, root, Member{Roots, sold}),
		"moved":             pair(Moved, root, Member{Intermediates, ca}),
		"moved and renamed": pair(Moved, root, Member{Intermediates, renamed}),
		"other extensions": {
			[]Member{root},
			[]Member{{Roots, lengthened}},
			[]Change{{Type: Reissued, Old: &root, New: &Member{Roots, lengthened}, Extensions: []string{"1.2.3", "basicConstraints"}}},
		},
		"another key, same name": {
			[]Member{root},
			[]Member{{Roots, rekeyed}},
			[]Change{{Type: Added, New: &Member{Roots, rekeyed}}, {Type: Removed, Old: &root}},
		},
		// The new set has neither certificate's key in another certificate.
		"same key, another name": {
			[]Member{root},
			[]Member{{Intermediates, alias}},
			[]Change{{Type: Added, New: &Member{Intermediates, alias}}, {Type: Removed, Old: &root, SameKey: &Member{Intermediates, alias}}},
		},
		"re-issued beside the old one": {
			[]Member{root},
			[]Member{root, {Roots, reissued}, {Intermediates, alias}},
			[]Change{
				{Type: Added, New: &Member{Roots, reissued}, SameKey: &root},
				{Type: Added, New: &Member{Intermediates, alias}, SameKey: &root},
			},
		},
		// Both have the subject and key; the one that says the same is the pair.
		"the closest": {
			[]Member{root},
			[]Member{{Roots, reissued}, {Roots, reencoded}},
			[]Change{
				{Type: Added, New: &Member{Roots, reissued}, SameKey: &Member{Roots, reencoded}},
				{Type: Reencoded, Old: &root, New: &Member{Roots, reencoded}},
			},
		},
		"re-encoded and renamed": pair(Reencoded, root, Member{Roots, reencodedRenamed}),
		"cross-signed":           pair(Reissued, root, Member{Roots, crossSigned}),
		"re-issued, by name": {
			[]Member{{Roots, a}, {Roots, b}},
			[]Member{{Roots, nextB}},
			[]Change{
				{Type: Removed, Old: &Member{Roots, a}, SameKey: &Member{Roots, nextB}},
				{Type: Reissued, Old: &Member{Roots, b}, New: &Member{Roots, nextB}},
			},
		},
		"re-encoded, by name": {
			[]Member{{Roots, a}, {Roots, encodedB}},
			[]Member{{Roots, reencodedTwice}},
			[]Change{
				{Type: Removed, Old: &Member{Roots, a}, SameKey: &Member{Roots, reencodedTwice}},
				{Type: Reencoded, Old: &Member{Roots, encodedB}, New: &Member{Roots, reencodedTwice}},
			},
		},
		"twice in a set": {[]Member{root, root}, []Member{root}, []Change{{Type: Removed, Old: &root}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Diff(c.before, c.after)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(showChanges(c.want), showChanges(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type diffCase struct {
	before, after []Member
	want          []Change
}

// pair is a case in which one certificate takes the place of another.
func pair(typ ChangeType, before, after Member) diffCase {
	return diffCase{[]Member{before}, []Member{after}, []Change{{Type: typ, Old: &before, New: &after}}}
}

// show tells two members apart.
func (m *Member) show() string {
	if m == nil {
		return "none"
	}
	return fmt.Sprintf("%s %s %q %x", m.Kind, m.Vendor, m.Name, m.X509.Signature[:8])
}

func showChanges(changes []Change) []string {
	var all []string
	for _, c := range changes {
		all = append(all, fmt.Sprintf("%s: %s -> %s, extensions %s, same key as %s",
			c.Type, c.Old.show(), c.New.show(), c.Extensions, c.SameKey.show()))
	}
	return all
}

func TestDiffRefusesUnreadableNames(t *testing.T) {
	broken := testCA(t, "IFX", 1)
	broken.X509.RawSubject = []byte{0x30, 0x05}
	_, err := Diff([]Member{{Roots, broken}}, nil)
	wantError(t, err, `IFX "IFX CA 1"`, "subject")
	_, err = Diff(nil, []Member{{Roots, broken}})
	wantError(t, err, `IFX "IFX CA 1"`, "subject")
}

// TestDiffProperties: no set differs from itself, and a difference makes the new
// set of the old. The sets are of a few CAs that share keys and names.
func TestDiffProperties(t *testing.T) {
	var pool []Member
	for i := range 4 {
		for _, key := range []ed25519.PrivateKey{throwawayKey, otherKey} {
			c := template(int64(i%2)+1, fmt.Sprintf("CA %d", i/2))
			c.SerialNumber = big.NewInt(int64(i%2) + 1)
			for _, vendor := range []string{"IFX", "AMD"} {
				for _, kind := range Kinds() {
					pool = append(pool, Member{kind, Certificate{vendor, "CA", signedBy(t, c, key)}})
				}
			}
		}
	}
	set := rapid.SliceOfN(rapid.SampledFrom(pool), 0, 8)
	rapid.Check(t, func(t *rapid.T) {
		before, after := set.Draw(t, "before"), set.Draw(t, "after")
		same, err := Diff(before, rapid.Permutation(before).Draw(t, "shuffled"))
		if err != nil || len(same) > 0 {
			t.Fatal(same, err)
		}
		changes, err := Diff(before, after)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(counts(after), apply(before, changes)); diff != "" {
			t.Fatal(diff)
		}
		shuffled, err := Diff(rapid.Permutation(before).Draw(t, "b"), rapid.Permutation(after).Draw(t, "a"))
		if err != nil || cmp.Diff(showChanges(changes), showChanges(shuffled)) != "" {
			t.Fatal("the order matters", err)
		}
	})
}

func counts(members []Member) map[string]int {
	all := map[string]int{}
	for _, m := range members {
		all[m.show()]++
	}
	return all
}

func apply(before []Member, changes []Change) map[string]int {
	all := counts(before)
	for _, c := range changes {
		if c.Old != nil {
			if all[c.Old.show()]--; all[c.Old.show()] == 0 {
				delete(all, c.Old.show())
			}
		}
	}
	for _, c := range changes {
		if c.New != nil {
			all[c.New.show()]++
		}
	}
	return all
}
