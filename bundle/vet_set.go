package bundle

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// setRules judge one certificate of a set each; an empty text is no finding.
var setRules = []struct {
	Rule
	judge func(s *set, i int) (Severity, string)
}{
	{Rule{"expires-soon", "valid for some time to come, if a time was given"}, vetSoon},
	{Rule{"not-self-signed", "roots that are self-signed, or at least issued by another of the set (info)"}, vetRoot},
	{Rule{"self-signed-intermediate", "intermediates that are not self-signed: such belong to the roots"}, vetIntermediate},
	{Rule{"no-chain", "intermediates that chain to a root of the set"}, vetChain},
	{Rule{"path-length", "a chain whose path lengths allow the certificate and EK certificates below it"}, vetPathLength},
	{Rule{"name-mismatch", "an issuer in the set whose subject is the issuer's name byte for byte"}, vetNameMatch},
	{Rule{"reused-key", "a key of its own"}, vetReusedKey},
	{Rule{"reused-serial", "a serial number that no other certificate of its issuer has"}, vetReusedSerial},
}

// set is what the rules for sets look at.
type set struct {
	VetOptions
	members []vetted
	graph   *Graph
	// budgets say how many more CAs may follow below each certificate in its best
	// chain to a root, or why none may.
	budgets []int
	roots   bool // there are some
	keys    map[string][]int
	serials map[string][]int
}

// Budgets of certificates below which nothing may follow.
const (
	forbidden = -1 // by the path lengths of all chains
	unchained = -2
)

func newSet(o VetOptions, members []vetted, g *Graph) *set {
	s := &set{VetOptions: o, members: members, graph: g, keys: map[string][]int{}, serials: map[string][]int{}}
	seen := map[string]bool{}
	for i, m := range members {
		s.roots = s.roots || m.Kind == Roots
		if seen[m.digest] {
			continue
		}
		seen[m.digest] = true
		key, serial := string(m.X509.RawSubjectPublicKeyInfo), serialKey(m)
		s.keys[key] = append(s.keys[key], i)
		s.serials[serial] = append(s.serials[serial], i)
	}
	s.chain()
	return s
}

// serialKey is what identifies a certificate in a revocation list.
func serialKey(m vetted) string {
	issuer, err := canonicalName(m.X509.RawIssuer)
	if err != nil {
		issuer = string(m.X509.RawIssuer)
	}
	return string(appendField([]byte(issuer), m.X509.SerialNumber.String()))
}

// chain finds the budgets, from the roots down. A budget only ever grows, and no
// further than limits.BundleChain, so this ends soon whatever the graph is.
func (s *set) chain() {
	s.budgets = make([]int, len(s.members))
	issued := make([][]int, len(s.members))
	var queue []int
	for i, m := range s.members {
		s.budgets[i] = unchained
		if m.Kind == Roots {
			s.budgets[i] = pathLength(m)
			queue = append(queue, i)
		}
		for _, l := range s.graph.Issuers(i) {
			issued[l.Issuer] = append(issued[l.Issuer], i)
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		for _, i := range issued[queue[0]] {
			if b := s.below(queue[0], i); b > s.budgets[i] {
				s.budgets[i] = b
				queue = append(queue, i)
			}
		}
	}
}

// below is the budget of certificate i under an issuer (RFC 5280, 4.2.1.9).
func (s *set) below(issuer, i int) int {
	budget, c := s.budgets[issuer], s.members[i].X509
	if !bytes.Equal(c.RawSubject, c.RawIssuer) { // self-issued ones do not count
		budget--
	}
	if budget < 0 {
		return forbidden
	}
	return min(budget, pathLength(s.members[i]))
}

// pathLength is how many CAs may follow below a certificate.
func pathLength(m vetted) int {
	if n := m.X509.MaxPathLen; n > 0 || n == 0 && m.X509.MaxPathLenZero {
		return min(n, limits.BundleChain)
	}
	return limits.BundleChain
}

func vetSoon(s *set, i int) (Severity, string) {
	end := s.members[i].X509.NotAfter
	if s.Soon > 0 && !s.At.After(end) && s.At.Add(s.Soon).After(end) {
		return Warning, "expires on " + end.UTC().Format(time.DateOnly)
	}
	return "", ""
}

// vetRoot: a root is an anchor because the catalog says so. OpenSSL needs
// -partial_chain for one that is not self-signed, unless it finds the issuer.
func vetRoot(s *set, i int) (Severity, string) {
	switch {
	case s.members[i].Kind != Roots || s.graph.SelfSigned(i):
		return "", ""
	case len(s.graph.Issuers(i)) > 0:
		return Info, "is a root that is not self-signed but issued by " + s.name(s.graph.Issuers(i)[0].Issuer)
	}
	return Warning, "is a root that is not self-signed, and its issuer is not in the set: some verifiers want to be told that it is an anchor"
}

func vetIntermediate(s *set, i int) (Severity, string) {
	if s.members[i].Kind == Intermediates && s.graph.SelfSigned(i) {
		return Error, "is an intermediate that is self-signed"
	}
	return "", ""
}

func vetChain(s *set, i int) (Severity, string) {
	if s.roots && s.budgets[i] == unchained && !s.graph.SelfSigned(i) {
		return Warning, "does not chain to a root of the set"
	}
	return "", ""
}

func vetPathLength(s *set, i int) (Severity, string) {
	if s.budgets[i] == forbidden {
		return Error, "may not issue anything: it has no chain that the path lengths of its issuers allow"
	}
	return "", ""
}

func vetNameMatch(s *set, i int) (Severity, string) {
	issuers := s.graph.Issuers(i)
	if len(issuers) == 0 || s.graph.SelfSigned(i) || slices.ContainsFunc(issuers, func(l Link) bool { return !l.Normalised }) {
		return "", ""
	}
	return Warning, "names its issuer " + s.name(issuers[0].Issuer) + " in another encoding: verifiers that compare bytes find no chain"
}

// vetReusedKey: cross-certificates and renewals reuse keys rightly.
func vetReusedKey(s *set, i int) (Severity, string) {
	if text := s.others(s.keys[string(s.members[i].X509.RawSubjectPublicKeyInfo)], i); text != "" {
		return Info, "has the same key as " + text
	}
	return "", ""
}

// vetReusedSerial: who revokes one of them revokes all.
func vetReusedSerial(s *set, i int) (Severity, string) {
	if text := s.others(s.serials[serialKey(s.members[i])], i); text != "" {
		return Warning, "has the same issuer and serial number as " + text
	}
	return "", ""
}

// others names what shares something with certificate i.
func (s *set) others(group []int, i int) string {
	for _, k := range group {
		switch {
		case k == i:
		case len(group) > 2:
			return fmt.Sprintf("%s and %d more", s.name(k), len(group)-2)
		default:
			return s.name(k)
		}
	}
	return ""
}

func (s *set) name(i int) string { return fmt.Sprintf("%s %q", s.members[i].Vendor, s.members[i].Name) }
