package bundle

import (
	"crypto/ed25519"
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
		"added":     {[]Member{root}, []Member{root, other}, []Change{{Added, nil, &other}}},
		"removed":   {[]Member{root, other}, []Member{root}, []Change{{Removed, &other, nil}}},
		"re-issued": pair(Reissued, root, Member{Roots, reissued}),
		// Not re-encoded: it says another end.
		"same serial":       pair(Reissued, root, Member{Roots, sameSerial}),
		"re-encoded":        pair(Reencoded, root, Member{Roots, reencoded}),
		"renamed":           pair(Renamed, root, Member{Roots, renamed}),
		"sold":              pair(Renamed, root, Member{Roots, sold}),
		"moved":             pair(Moved, root, Member{Intermediates, ca}),
		"moved and renamed": pair(Moved, root, Member{Intermediates, renamed}),
		"another key, same name": {
			[]Member{root},
			[]Member{{Roots, rekeyed}},
			[]Change{{Added, nil, &Member{Roots, rekeyed}}, {Removed, &root, nil}},
		},
		// Both have the subject and key; the one that says the same is the pair.
		"the closest": {
			[]Member{root},
			[]Member{{Roots, reissued}, {Roots, reencoded}},
			[]Change{{Added, nil, &Member{Roots, reissued}}, {Reencoded, &root, &Member{Roots, reencoded}}},
		},
		"re-encoded and renamed": pair(Reencoded, root, Member{Roots, reencodedRenamed}),
		"cross-signed":           pair(Reissued, root, Member{Roots, crossSigned}),
		"re-issued, by name": {
			[]Member{{Roots, a}, {Roots, b}},
			[]Member{{Roots, nextB}},
			[]Change{{Removed, &Member{Roots, a}, nil}, {Reissued, &Member{Roots, b}, &Member{Roots, nextB}}},
		},
		"re-encoded, by name": {
			[]Member{{Roots, a}, {Roots, encodedB}},
			[]Member{{Roots, reencodedTwice}},
			[]Change{{Removed, &Member{Roots, a}, nil}, {Reencoded, &Member{Roots, encodedB}, &Member{Roots, reencodedTwice}}},
		},
		"twice in a set": {[]Member{root, root}, []Member{root}, []Change{{Removed, &root, nil}}},
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
	return diffCase{[]Member{before}, []Member{after}, []Change{{typ, &before, &after}}}
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
		all = append(all, fmt.Sprintf("%s: %s -> %s", c.Type, c.Old.show(), c.New.show()))
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
