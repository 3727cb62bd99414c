package bundle

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"
)

// Severity says what a finding means for a build.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // no bundle is built
	Warning Severity = "warning" // some verifier refuses, or is misled
	Info    Severity = "info"    // good to know; nothing is wrong
)

// Finding is something that a rule has against a certificate.
type Finding struct {
	Rule     string // stable id of the rule; see [Rules]
	Severity Severity
	Vendor   string
	Name     string
	Text     string // what is wrong, in one line
	Kind     Kind   // of the bundle; "" if the certificate was judged by itself
	SHA256   string // of the certificate, in lower-case hexadecimal; "" for an entry of a catalog
	Line     int    // of the entry that the finding is about; 0 if it is about a certificate
}

// String is the finding in one line.
func (f Finding) String() string {
	text := fmt.Sprintf("%s: %s %q: %s [%s]", f.Severity, f.Vendor, f.Name, f.Text, f.Rule)
	if f.Line > 0 {
		text += fmt.Sprintf(" (line %d of the catalog)", f.Line)
	}
	return text
}

// Rule is one of the rules for certificates.
type Rule struct {
	ID    string // stable
	About string // what it wants, in one line
}

// Rules are all rules for certificates, in the order of their findings.
func Rules() []Rule {
	var all []Rule
	for _, r := range rules {
		all = append(all, r.Rule)
	}
	all = append(all, duplicate)
	for _, r := range setRules {
		all = append(all, r.Rule)
	}
	return all
}

// Vet judges the certificates of one bundle at a time, each by itself: in their
// order, and the rules in a fixed order, so that the same input gives the same
// findings. It also finds a certificate that is there twice.
func Vet(certs []Certificate, at time.Time) []Finding {
	all := make([]vetted, len(certs))
	for i, c := range certs {
		all[i] = newVetted(Member{Certificate: c})
	}
	return vet(all, VetOptions{At: at}, nil)
}

// VetOptions say how to judge bundles.
type VetOptions struct {
	At time.Time
	// Soon is how long before a certificate expires there is a finding; 0 is
	// never.
	Soon time.Duration
	// Exceptions are those that a catalog declares, by the SHA-256 of the certificate
	// in lower-case hexadecimal. What they forgive becomes [Info].
	Exceptions map[string][]string
}

// VetBundles judges the certificates of bundles as [Vet] does, and as a set: which
// issued which, and what they share. Give a release's roots and intermediates
// together; what only both can show is not looked for in one alone. The findings
// are in the order of the bundles and their certificates. The error is that of
// [NewGraph].
func VetBundles(o VetOptions, bundles ...*Bundle) ([]Finding, error) {
	graph, err := graphOf(bundles)
	if err != nil {
		return nil, err
	}
	return vetSet(o, bundles, graph), nil
}

// graphOf is the graph of all certificates of bundles; it takes longer than all else
// that is made of them.
func graphOf(bundles []*Bundle) (*Graph, error) {
	var certs []Certificate
	for _, b := range bundles {
		certs = append(certs, b.certs...)
	}
	return NewGraph(certs)
}

func vetSet(o VetOptions, bundles []*Bundle, g *Graph) []Finding {
	var members []vetted
	for _, m := range Members(bundles...) {
		members = append(members, newVetted(m))
	}
	return vet(members, o, newSet(o, members, g))
}

// vetted is a certificate with what the rules need to know of it.
type vetted struct {
	Member
	digest string // hexadecimal
}

func newVetted(m Member) vetted {
	return vetted{m, digestText(m.X509)}
}

// digestText is the SHA-256 of a certificate in lower-case hexadecimal.
func digestText(c *x509.Certificate) string { return fmt.Sprintf("%x", sha256.Sum256(c.Raw)) }

// vet applies all rules; those for sets if there is one.
func vet(members []vetted, o VetOptions, s *set) []Finding {
	var all []Finding
	first := map[string]vetted{}
	for i, m := range members {
		add := func(r Rule, severity Severity, text string) {
			if text == "" {
				return
			}
			if o.forgives(r.ID, m.digest) {
				severity, text = Info, "declared: "+text
			}
			all = append(all, Finding{
				Rule: r.ID, Severity: severity, Vendor: m.Vendor, Name: m.Name, Text: text, Kind: m.Kind, SHA256: m.digest,
			})
		}
		for _, r := range rules {
			severity, text := r.judge(m.X509, o.At)
			add(r.Rule, severity, text)
		}
		if other, seen := first[m.digest]; seen {
			add(duplicate, Error, fmt.Sprintf("is the same certificate as %s %q", other.Vendor, other.Name))
			continue // and so has the same key, serial and issuers
		}
		first[m.digest] = m
		if s == nil {
			continue
		}
		for _, r := range setRules {
			severity, text := r.judge(s, i)
			add(r.Rule, severity, text)
		}
	}
	return all
}
