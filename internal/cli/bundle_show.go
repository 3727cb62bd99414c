package cli

import (
	"cmp"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// bundleShowFlags are the flags of `bundle show`.
type bundleShowFlags struct {
	vendors vendorFilter
	at      time.Time
}

func (a *app) bundleShow() *cobra.Command {
	var f bundleShowFlags
	c := &cobra.Command{
		Use:   "show BUNDLE...|DIR",
		Short: "show the certificates of TPM CA bundles as a tree",
		Long: `Show prints each root with the intermediates that it issued below it, by names as
RFC 5280 compares them and by signatures: the kind of key, the last day of validity,
and what the rules for certificates have against it. Give the roots and the
intermediates together, or the folder of a release:

  sealsmith bundle show release
  sealsmith bundle show release --vendor AMD,IFX
  sealsmith bundle show tpm-ca-certificates.pem --json

It says nothing about who made the bundles: see sealsmith bundle verify.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := f.vendors.check(); err != nil {
				return err
			}
			if f.at.IsZero() {
				f.at = time.Now()
			}
			s, err := a.readShown(f, args)
			if err != nil {
				return err
			}
			if a.json {
				return a.printShownJSON(s)
			}
			return a.printTree(s)
		},
	}
	f.vendors.register(c, "show only the certificates of vendor `ID[,ID]`, and those that they chain to")
	c.Flags().TimeVar(&f.at, "at", time.Time{}, []string{time.DateOnly, time.RFC3339}, "judge as at `TIME` (YYYY-MM-DD or RFC 3339) instead of now")
	return c
}

// shown is what `bundle show` prints.
type shown struct {
	bundleShowFlags
	bundles  []*bundle.Bundle
	members  []bundle.Member
	texts    []memberJSON // of the members
	graph    *bundle.Graph
	findings []bundle.Finding // about the members of the vendors that were asked for
	byMember map[string][]bundle.Finding
}

func (a *app) readShown(f bundleShowFlags, paths []string) (*shown, error) {
	s := &shown{bundleShowFlags: f, byMember: map[string][]bundle.Finding{}}
	var err error
	if s.bundles, err = a.readBundles(paths...); err != nil {
		return nil, err
	}
	exceptions, err := readExceptions(paths, s.bundles)
	if err != nil {
		return nil, err
	}
	kinds := bundle.Kinds()
	slices.SortStableFunc(s.bundles, func(a, b *bundle.Bundle) int {
		return cmp.Compare(slices.Index(kinds, a.Header().Kind), slices.Index(kinds, b.Header().Kind))
	})
	s.members = bundle.Members(s.bundles...)
	certs := make([]bundle.Certificate, len(s.members))
	s.texts = make([]memberJSON, len(s.members))
	for i, m := range s.members {
		certs[i] = m.Certificate
		if s.texts[i], err = newMemberJSON(m); err != nil {
			return nil, err
		}
	}
	if s.graph, err = bundle.NewGraph(certs); err != nil {
		return nil, err
	}
	findings, err := bundle.VetBundles(bundle.VetOptions{At: f.at, Soon: limits.BundleSoon, Exceptions: exceptions}, s.bundles...)
	if err != nil {
		return nil, err
	}
	for _, finding := range findings {
		if s.vendors.wants(finding.Vendor) {
			s.findings = append(s.findings, finding)
			place := string(finding.Kind) + finding.SHA256
			s.byMember[place] = append(s.byMember[place], finding)
		}
	}
	return s, nil
}

// about are the findings about certificate i.
func (s *shown) about(i int) []bundle.Finding {
	return s.byMember[string(s.members[i].Kind)+s.texts[i].SHA256]
}

// showJSON is what --json prints; docs/spec/bundle-json.md describes it.
type showJSON struct {
	Bundles      []bundleJSON      `json:"bundles"`
	At           time.Time         `json:"at"`
	Vendors      []shownVendorJSON `json:"vendors"`
	Certificates []shownJSON       `json:"certificates"`
}

// shownVendorJSON counts the certificates of a vendor.
type shownVendorJSON struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	Roots         int    `json:"roots"`
	Intermediates int    `json:"intermediates"`
}

// shownJSON is the --json form of a certificate in its place.
type shownJSON struct {
	memberJSON
	SubjectKeyID   string        `json:"subject_key_id,omitempty"`
	AuthorityKeyID string        `json:"authority_key_id,omitempty"`
	SelfSigned     bool          `json:"self_signed"`
	Issuers        []issuerJSON  `json:"issuers"` // in these bundles, itself left out
	Findings       []findingJSON `json:"findings"`
}

type issuerJSON struct {
	SHA256 string `json:"sha256"`
	// Normalised: the names are equal by RFC 5280, section 7.1, but not byte for byte.
	Normalised bool `json:"normalised"`
}

type findingJSON struct {
	Rule     string          `json:"rule"`
	Severity bundle.Severity `json:"severity"`
	Text     string          `json:"text"`
}

func (a *app) printShownJSON(s *shown) error {
	all := []shownJSON{}
	for i, m := range s.members {
		if !s.vendors.wants(m.Vendor) {
			continue
		}
		one := shownJSON{
			memberJSON: s.texts[i], SubjectKeyID: hex.EncodeToString(m.X509.SubjectKeyId), AuthorityKeyID: hex.EncodeToString(m.X509.AuthorityKeyId),
			SelfSigned: s.graph.SelfSigned(i), Issuers: []issuerJSON{}, Findings: []findingJSON{},
		}
		for _, l := range s.graph.Issuers(i) {
			one.Issuers = append(one.Issuers, issuerJSON{s.texts[l.Issuer].SHA256, l.Normalised})
		}
		for _, f := range s.about(i) {
			one.Findings = append(one.Findings, findingJSON{f.Rule, f.Severity, f.Text})
		}
		all = append(all, one)
	}
	return a.printJSON(showJSON{bundlesJSON(s.bundles), s.at.UTC().Truncate(time.Second), s.vendorsJSON(), all})
}

// vendorsJSON are the vendors of what is shown, by their ids.
func (s *shown) vendorsJSON() []shownVendorJSON {
	counts := map[string]*shownVendorJSON{}
	for _, m := range s.members {
		if !s.vendors.wants(m.Vendor) {
			continue
		}
		v := counts[m.Vendor]
		if v == nil {
			name, _ := bundle.VendorName(m.Vendor) // which every bundle's vendor has
			v = &shownVendorJSON{ID: m.Vendor, Name: name}
			counts[m.Vendor] = v
		}
		if m.Kind == bundle.Roots {
			v.Roots++
		} else {
			v.Intermediates++
		}
	}
	all := []shownVendorJSON{}
	for _, id := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, *counts[id])
	}
	return all
}
