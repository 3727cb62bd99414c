package bundle

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// IndexName is the name of the file that describes a release to programs.
const IndexName = "index.json"

const indexVersion = 1

// Index describes a release to programs: docs/spec/ca-bundle.md. The bundles are
// what counts; [ParseIndex] compares.
type Index struct {
	Version       int                `json:"version"`
	Date          string             `json:"date"`
	Commit        string             `json:"commit,omitempty"`
	ContentSHA256 string             `json:"content_sha256"` // [ContentDigest] in hexadecimal
	Bundles       []IndexBundle      `json:"bundles"`
	Certificates  []IndexCertificate `json:"certificates"` // by kind, vendor, name and digest
}

// IndexBundle is one file of a release.
type IndexBundle struct {
	Name         string `json:"name"`
	Kind         Kind   `json:"kind"`
	Format       Format `json:"format"`
	SHA256       string `json:"sha256"` // of the file
	Certificates int    `json:"certificates"`
}

// IndexCertificate is one certificate of a release. Digests, key identifiers and
// serial numbers are lower-case hexadecimal.
type IndexCertificate struct {
	Kind           Kind           `json:"kind"`
	Vendor         string         `json:"vendor"`
	Name           string         `json:"name"`
	SHA256         string         `json:"sha256"`
	SHA1           string         `json:"sha1"`
	Subject        string         `json:"subject"` // as in RFC 4514
	Issuer         string         `json:"issuer"`
	Serial         string         `json:"serial"`
	NotBefore      string         `json:"not_before"`
	NotAfter       string         `json:"not_after"`
	SubjectKeyID   string         `json:"subject_key_id,omitempty"`
	AuthorityKeyID string         `json:"authority_key_id,omitempty"`
	CRLs           []string       `json:"crl_urls,omitempty"`
	Issuers        []string       `json:"issuer_urls,omitempty"` // of authority information access
	URL            string         `json:"url,omitempty"`         // where the catalog has it from
	Status         Status         `json:"status,omitempty"`      // that of the catalog
	Exceptions     []string       `json:"exceptions,omitempty"`  // from rules, as the catalog declares them; sorted
	Parents        []string       `json:"parents,omitempty"`     // SHA-256 of those that issued it
	Findings       []IndexFinding `json:"findings,omitempty"`
}

// IndexFinding is a [Finding] about the certificate that has it.
type IndexFinding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Text     string   `json:"text"`
}

// Origin is what a catalog knows of a certificate, and its file does not.
type Origin struct {
	URL        string
	Status     Status
	Exceptions []string // sorted; see [ExceptionRules]
}

// ContentDigest is a digest of what bundles hold, whatever their format, date and
// commit: of a line for each certificate with its kind, a space, its SHA-256 in
// lower-case hexadecimal and a line feed, the lines sorted as bytes.
func ContentDigest(bundles ...*Bundle) [sha256.Size]byte {
	return contentDigest(Members(bundles...))
}

func contentDigest(members []Member) [sha256.Size]byte {
	var lines []string
	for _, m := range members {
		lines = append(lines, fmt.Sprintf("%s %s\n", m.Kind, digestText(m.X509)))
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, line := range lines {
		h.Write([]byte(line))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// NewIndex describes the bundles of a release, with what the catalog says of each
// certificate (by the SHA-256 in hexadecimal) and the findings about them.
func NewIndex(bundles []*Bundle, origins map[string]Origin, findings []Finding) (*Index, error) {
	graph, err := graphOf(bundles)
	if err != nil {
		return nil, err
	}
	return newIndex(bundles, origins, findings, graph)
}

func newIndex(bundles []*Bundle, origins map[string]Origin, findings []Finding, g *Graph) (*Index, error) {
	x, err := describe(bundles)
	if err != nil {
		return nil, err
	}
	parents := findParents(bundles, g)
	about := map[string][]IndexFinding{}
	for _, f := range findings {
		about[f.SHA256] = append(about[f.SHA256], IndexFinding{f.Rule, f.Severity, f.Text})
	}
	for i := range x.Certificates {
		c := &x.Certificates[i]
		c.URL, c.Status, c.Exceptions = origins[c.SHA256].URL, origins[c.SHA256].Status, origins[c.SHA256].Exceptions
		c.Parents, c.Findings = parents[c.SHA256], about[c.SHA256]
	}
	return x, nil
}

// describe is the part of an index that follows from the files alone, and from no
// signature in them.
func describe(bundles []*Bundle) (*Index, error) {
	if len(bundles) == 0 {
		return nil, errors.New("an index needs at least one bundle")
	}
	h := bundles[0].header
	x := &Index{Version: indexVersion, Date: h.Date, Commit: h.Commit, ContentSHA256: fmt.Sprintf("%x", ContentDigest(bundles...))}
	for i, b := range bundles {
		if b.header.Date != h.Date || b.header.Commit != h.Commit || b.header.Format != h.Format {
			return nil, fmt.Errorf("the %s are of %s, the %s of %s: not the bundles of one release",
				h.Kind, h.release(), b.header.Kind, b.header.release())
		}
		if slices.ContainsFunc(bundles[:i], func(o *Bundle) bool { return o.header.Kind == b.header.Kind }) {
			return nil, fmt.Errorf("two bundles of %s", b.header.Kind)
		}
		x.Bundles = append(x.Bundles, IndexBundle{
			Name: b.header.Kind.FileName(), Kind: b.header.Kind, Format: b.header.Format,
			SHA256: fmt.Sprintf("%x", sha256.Sum256(b.data)), Certificates: len(b.certs),
		})
	}
	for _, b := range bundles {
		for _, r := range b.records {
			x.Certificates = append(x.Certificates, describeCertificate(b.header.Kind, r))
		}
	}
	slices.SortFunc(x.Bundles, func(a, b IndexBundle) int { return a.Kind.order() - b.Kind.order() })
	slices.SortFunc(x.Certificates, func(a, b IndexCertificate) int {
		return cmp.Or(a.Kind.order()-b.Kind.order(), cmp.Compare(a.Vendor, b.Vendor),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.SHA256, b.SHA256))
	})
	return x, nil
}

// release is what the headers of a release's bundles share.
func (h Header) release() string {
	text := h.Date + " in format " + string(h.Format)
	if h.Commit != "" {
		text += " from commit " + h.Commit
	}
	return text
}

// order is the place of a kind in a release.
func (k Kind) order() int { return slices.Index(Kinds(), k) }

func describeCertificate(k Kind, r record) IndexCertificate {
	c := r.X509
	return IndexCertificate{
		Kind: k, Vendor: r.Vendor, Name: r.Name,
		SHA256: digestText(c), SHA1: fmt.Sprintf("%x", sha1.Sum(c.Raw)),
		Subject: r.subject, Issuer: r.issuer, Serial: c.SerialNumber.Text(16),
		NotBefore: c.NotBefore.UTC().Format(time.RFC3339), NotAfter: c.NotAfter.UTC().Format(time.RFC3339),
		SubjectKeyID: hex.EncodeToString(c.SubjectKeyId), AuthorityKeyID: hex.EncodeToString(c.AuthorityKeyId),
		CRLs: printableURLs(c.CRLDistributionPoints), Issuers: printableURLs(c.IssuingCertificateURL),
	}
}

// printableURLs leaves out what could not stand in a line.
func printableURLs(urls []string) []string {
	var all []string
	for _, u := range urls {
		if checkText(u) == nil {
			all = append(all, u)
		}
	}
	return all
}

// findParents are the digests of the certificates that issued each, by its own, in
// their order as bytes.
func findParents(bundles []*Bundle, g *Graph) map[string][]string {
	members := Members(bundles...)
	parents := map[string][]string{}
	for i, m := range members {
		var all []string
		for _, l := range g.Issuers(i) {
			all = append(all, digestText(members[l.Issuer].X509))
		}
		slices.Sort(all)
		parents[digestText(m.X509)] = slices.Compact(all)
	}
	return parents
}

// Encode returns the bytes of the file: JSON with two spaces of indentation, the
// members in the order of the specification, and a line feed at the end.
func (x *Index) Encode() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(x); err != nil {
		return nil, fmt.Errorf("encode %s: %w", IndexName, err)
	}
	if out.Len() > limits.BundleIndex {
		return nil, fmt.Errorf("%s has more than %d bytes", IndexName, limits.BundleIndex)
	}
	return out.Bytes(), nil
}
