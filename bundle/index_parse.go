package bundle

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// ParseIndex reads the index of these bundles. It takes only what [NewIndex] makes of
// them: all that follows from the bundles is computed anew and every byte compared.
// Not in the bundles are URLs, statuses, exceptions and findings, which are what the builder
// says; and of the parents it is checked that they have the name and the key
// identifier of the issuer. Their signatures are left to [Index.CheckParents]: that
// takes as long as all the rest of a verification.
func ParseIndex(data []byte, bundles ...*Bundle) (*Index, error) {
	if len(data) > limits.BundleIndex {
		return nil, fmt.Errorf("the index has more than %d bytes", limits.BundleIndex)
	}
	var claimed Index
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&claimed); err != nil {
		return nil, fmt.Errorf("not JSON of an index: %s", quote(err.Error()))
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("something after the JSON of the index")
	}
	if claimed.Version != indexVersion {
		return nil, fmt.Errorf("version %d of the index is not supported: want %d", claimed.Version, indexVersion)
	}
	x, err := describe(bundles)
	if err != nil {
		return nil, err
	}
	if err := x.take(&claimed, bundles); err != nil {
		return nil, err
	}
	want, err := x.Encode()
	if err != nil {
		return nil, err
	}
	if problems := differences(data, want); len(problems) > 0 {
		return nil, problems[0]
	}
	return x, nil
}

// take adds what another index says and the bundles do not.
func (x *Index) take(claimed *Index, bundles []*Bundle) error {
	by := map[string]*IndexCertificate{}
	for i, c := range claimed.Certificates {
		by[c.SHA256] = &claimed.Certificates[i]
	}
	certs := map[string]*x509.Certificate{}
	for _, m := range Members(bundles...) {
		certs[digestText(m.X509)] = m.X509
	}
	for i := range x.Certificates {
		c := &x.Certificates[i]
		claim := by[c.SHA256]
		if claim == nil {
			return fmt.Errorf("the index does not have %s %q with the digest %s", c.Vendor, c.Name, c.SHA256)
		}
		if err := claim.check(); err != nil {
			return fmt.Errorf("%s %q: %w", c.Vendor, c.Name, err)
		}
		for _, parent := range claim.Parents {
			if !mayIssue(certs[parent], certs[c.SHA256]) {
				return fmt.Errorf("%s %q: parent %s did not issue it", c.Vendor, c.Name, quote(parent))
			}
		}
		c.URL, c.Status, c.Exceptions, c.Parents, c.Findings = claim.URL, claim.Status, claim.Exceptions, claim.Parents, claim.Findings
	}
	return nil
}

// mayIssue says whether issuer, which may be nil, has the name and the key that the
// issuer of c must have.
func mayIssue(issuer, c *x509.Certificate) bool {
	return issuer != nil && issuer != c && sameName(issuer.RawSubject, c.RawIssuer) &&
		(&node{cert: c}).foreignTo(&node{cert: issuer}) < 2
}

var rulePattern = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// check says what cannot be true of the words of a builder.
func (c *IndexCertificate) check() error {
	if c.URL != "" {
		if err := checkURL(c.URL); err != nil {
			return fmt.Errorf("url: %w", err)
		}
	}
	if !slices.Contains([]Status{"", Current, Historic}, c.Status) {
		return fmt.Errorf("status %s is neither current nor historic", quote(string(c.Status)))
	}
	if !strictlySorted(c.Parents) {
		return errors.New("the parents are not sorted")
	}
	if !strictlySorted(c.Exceptions) {
		return errors.New("the exceptions are not sorted")
	}
	for _, id := range c.Exceptions {
		if !rulePattern.MatchString(id) {
			return fmt.Errorf("exception %s is of no rule", quote(id))
		}
	}
	for _, f := range c.Findings {
		if !rulePattern.MatchString(f.Rule) || !slices.Contains([]Severity{Error, Warning, Info}, f.Severity) {
			return fmt.Errorf("finding %s of severity %s is none", quote(f.Rule), quote(string(f.Severity)))
		}
		if err := checkPrintable(f.Text); err != nil {
			return fmt.Errorf("finding %s: %w", f.Rule, err)
		}
	}
	return nil
}

// strictlySorted says that the texts are in order, and each is there once: one set has
// one encoding.
func strictlySorted(all []string) bool {
	return slices.IsSorted(all) && len(slices.Compact(slices.Clone(all))) == len(all)
}

// CheckParents says whether the parents of each certificate are those among the
// bundles that issued it, by their names and their signatures.
func (x *Index) CheckParents(bundles ...*Bundle) error {
	graph, err := graphOf(bundles)
	if err != nil {
		return err
	}
	parents := findParents(bundles, graph)
	for _, c := range x.Certificates {
		if !slices.Equal(c.Parents, parents[c.SHA256]) {
			return fmt.Errorf("%s %q: the parents in the index are %q, want %q", c.Vendor, c.Name, c.Parents, parents[c.SHA256])
		}
	}
	return nil
}
