package verify

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/key"
)

// Signatures are those of one signer over a SHA256SUMS file.
type Signatures struct {
	Name     string // for messages and [Counted]: what tells them from others'
	SSHSIG   []byte // empty if there is none
	Sigstore []byte // empty if there is none
}

// Counted is what [Verifier.Signers] established.
type Counted struct {
	Result
	Names []string // of the signatures that were counted
}

// Signers verifies the signatures of several signers over a SHA256SUMS file, of which
// least must count. A signer counts who is trusted and signed in every format that the
// policy requires, with one key. Each public key counts once, and each identity, if the
// trust is in several: two keys of one person are one signer, and so are a person's key
// and one that is somebody else's, too.
//
// Signatures by keys that are not trusted, or not now, or for another namespace do not
// count, nor do those that lack a format; anything else that is wrong with one refuses
// all. Refusals wrap [ErrRefused]; if more signers are wanted than are trusted, the error
// wraps [key.ErrUsage].
func (v *Verifier) Signers(least int, sums []byte, all []Signatures) (*Counted, error) {
	if most := v.policy.Trust.signers(); least < 1 || least > most {
		return nil, fmt.Errorf("%d signers are wanted, and %d trusted: %w", least, most, key.ErrUsage)
	}
	counted := &Counted{}
	var others []error
	for _, s := range all {
		one, err := v.Release(Release{Sums: sums, SSHSIG: s.SSHSIG, Sigstore: s.Sigstore})
		if err != nil && len(all) > 1 {
			err = fmt.Errorf("%.100q: %w", s.Name, err)
		}
		switch {
		case err == nil:
			counted.add(one)
			counted.Names = append(counted.Names, s.Name)
		case notCounted(err):
			others = append(others, err)
		default:
			return nil, err
		}
	}
	different := v.policy.differentSigners(counted.Signers)
	switch {
	case different >= least:
		if least > 1 {
			counted.Checks = append(counted.Checks, fmt.Sprintf("%d different signers, and %d are wanted", different, least))
		}
		return counted, nil
	case different == 0 && len(others) == 1:
		return nil, others[0]
	}
	text := fmt.Sprintf("%d of the %d that are wanted", different, least)
	for i, err := range others {
		if i == limits.SignersNamed {
			text += fmt.Sprintf("; %d more", len(others)-i)
			break
		}
		text += "; " + err.Error()
	}
	return nil, refuse(TooFewSigners, "%s", text)
}

// notCounted says whether signatures are those of somebody else, or for somebody else, or
// not all there.
func notCounted(err error) bool {
	var r *Refusal
	return errors.As(err, &r) && slices.Contains([]Reason{NoSignature, WrongKey, WrongNamespace, UnknownIdentity, NotYetValid, Expired}, r.Reason)
}

// signers is how many signers can be counted at most.
func (t *Trust) signers() int {
	if t.severalPeople() {
		return len(slices.Compact(slices.Sorted(slices.Values(t.identities))))
	}
	ids := map[key.ID]bool{}
	for _, k := range t.candidates() {
		if id, err := key.NewID(k); err == nil {
			ids[id] = true
		}
	}
	return len(ids)
}

// differentSigners is how many there are at least: of keys, or of people where the trust
// is in several. Keys that the same person may have used are of one signer.
func (p Policy) differentSigners(signers []Signer) int {
	people := make([][]string, len(signers))
	for i, s := range signers {
		people[i] = p.people(s.Key)
	}
	// Those whose key is theirs alone come first.
	slices.SortStableFunc(people, func(a, b []string) int { return len(a) - len(b) })
	different := 0
	counted := map[string]bool{}
	for _, all := range people {
		if slices.ContainsFunc(all, func(who string) bool { return counted[who] }) {
			continue
		}
		different++
		for _, who := range all {
			counted[who] = true
		}
	}
	return different
}

// people are the identities for whom a key signs by the policy, if there are several
// identities; else the key stands for itself.
func (p Policy) people(id key.ID) []string {
	if p.Trust.severalPeople() {
		for _, k := range p.Trust.candidates() {
			if other, err := key.NewID(k); err == nil && other == id {
				return slices.DeleteFunc(slices.Clone(p.Trust.identities), func(who string) bool {
					return p.Trust.allowed.Check(k, who, p.Namespace, p.At) != nil
				})
			}
		}
	}
	return []string{string(id)}
}

func (t *Trust) severalPeople() bool {
	return slices.ContainsFunc(t.identities, func(who string) bool { return who != t.identities[0] })
}
