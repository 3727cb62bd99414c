package bundle

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealsmith/sealsmith/internal/hint"
)

// Options say what to build.
type Options struct {
	Format Format // "" is our own
	Date   string // YYYY-MM-DD
	Commit string // of the catalog's repository; see [Header]
	// Fetcher gets the certificates; nil is the zero Fetcher.
	Fetcher *Fetcher
	// Catalogs replaces our own catalogs; a kind that is missing is ours.
	Catalogs map[Kind]*Catalog
	// AllowSHA1Pin accepts entries that pin nothing stronger than SHA-1.
	AllowSHA1Pin bool
	// IncludeHistoric takes entries with the status [Historic], too.
	IncludeHistoric bool
}

// File is a file of a release.
type File struct {
	Name string // without folder
	Data []byte
}

// Output is what was built.
type Output struct {
	// Files in the order in which they should be written.
	Files []File
	// Findings are what the rules have against it; none is an [Error].
	Findings []Finding
	// LeftOut is how many historic entries were not asked for.
	LeftOut int
}

// ErrUsage is wrapped by the errors of [Release] and [Single] about options that
// make no sense; nothing was fetched then.
var ErrUsage = errors.New("wrong usage")

// Release builds both bundles, their index and SHA256SUMS. Nothing is written; see
// [Output.Write].
func Release(ctx context.Context, o Options) (*Output, error) {
	m, err := build(ctx, o, Kinds()...)
	if err != nil {
		return nil, err
	}
	index, err := newIndex(m.bundles, m.origins, m.findings, m.graph)
	if err != nil {
		return nil, err
	}
	data, err := index.Encode()
	if err != nil {
		return nil, err
	}
	out := m.output()
	out.Files = append(out.Files, File{IndexName, data})
	out.Files = append(out.Files, File{SumsName, NewSums(out.Files).Encode()})
	return out, nil
}

// Single builds the bundle of one kind, the only file of the output.
func Single(ctx context.Context, k Kind, o Options) (*Output, error) {
	if _, err := ParseKind(string(k)); err != nil {
		return nil, err
	}
	m, err := build(ctx, o, k)
	if err != nil {
		return nil, err
	}
	return m.output(), nil
}

// made is what was built.
type made struct {
	leftOut  int // historic entries
	entries  []Entry
	digests  []string // of their certificates
	bundles  []*Bundle
	graph    *Graph // of them
	findings []Finding
	origins  map[string]Origin // by the SHA-256 in hexadecimal
}

func (m *made) output() *Output {
	out := &Output{Findings: m.findings, LeftOut: m.leftOut}
	for _, b := range m.bundles {
		out.Files = append(out.Files, File{b.header.Kind.FileName(), b.Encode()})
	}
	return out
}

// build makes bundles of kinds; their certificates are fetched together, so
// that a slow site delays both only once.
func build(ctx context.Context, o Options, kinds ...Kind) (*made, error) {
	if o.Format == "" {
		o.Format = Sealsmith
	}
	for _, k := range kinds { // before anything is fetched
		if err := o.header(k).check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUsage, err)
		}
	}
	catalogs, err := o.catalogs(kinds)
	if err != nil {
		return nil, err
	}
	m := &made{origins: map[string]Origin{}}
	for i, c := range catalogs {
		all := len(c.Entries)
		if catalogs[i] = o.choose(c); len(catalogs[i].Entries) == 0 && all > 0 {
			return nil, hint.Wrap(fmt.Errorf("the catalog of %s has historic entries only", kinds[i]), "--include-historic builds from them")
		}
		m.leftOut += all - len(catalogs[i].Entries)
		m.entries = append(m.entries, catalogs[i].Entries...)
	}
	if err := findingsError(o.vetPins(m.entries, nil)); err != nil {
		return nil, err
	}
	return m, m.fill(ctx, o, catalogs, kinds)
}

// choose is a catalog without what is not asked for.
func (o Options) choose(c *Catalog) *Catalog {
	if o.IncludeHistoric {
		return c
	}
	return &Catalog{slices.DeleteFunc(slices.Clone(c.Entries), func(e Entry) bool { return e.Status == Historic })}
}

// fill fetches the certificates of the entries and makes the bundles of them.
func (m *made) fill(ctx context.Context, o Options, catalogs []*Catalog, kinds []Kind) error {
	fetcher := o.Fetcher
	if fetcher == nil {
		fetcher = &Fetcher{}
	}
	certs, err := fetcher.Fetch(ctx, m.entries)
	if err != nil {
		return err
	}
	if err := checkDistinct(certs); err != nil {
		return err
	}
	for i, e := range m.entries {
		m.digests = append(m.digests, digestText(certs[i].X509))
		m.origins[m.digests[i]] = Origin{e.URL, cmp.Or(e.Status, Current), slices.Sorted(slices.Values(e.Exceptions))}
	}
	m.findings = o.vetPins(m.entries, m.digests)
	for i, k := range kinds {
		n := len(catalogs[i].Entries)
		b, err := assemble(certs[:n], o.header(k))
		if err != nil {
			return fmt.Errorf("build %s: %w", k, err)
		}
		certs = certs[n:]
		m.bundles = append(m.bundles, b)
	}
	return m.vet()
}

// vet judges the bundles at their date, which is the same whenever they are built.
func (m *made) vet() error {
	day, err := time.Parse(time.DateOnly, m.bundles[0].header.Date)
	if err != nil {
		return err
	}
	if m.graph, err = graphOf(m.bundles); err != nil {
		return err
	}
	exceptions := map[string][]string{}
	for digest, origin := range m.origins {
		exceptions[digest] = origin.Exceptions
	}
	findings := vetSet(VetOptions{At: day, Exceptions: exceptions}, m.bundles, m.graph)
	if len(m.bundles) == len(Kinds()) { // else some rules have nothing to compare
		m.findings = append(m.findings, vetExceptions(m.entries, m.digests, findings)...)
	}
	m.findings = append(m.findings, findings...)
	return findingsError(findings)
}

func (o Options) header(k Kind) Header {
	return Header{Kind: k, Format: o.Format, Date: o.Date, Commit: o.Commit}
}

// catalogs returns one catalog for each kind, none of which shares anything
// with another.
func (o Options) catalogs(kinds []Kind) ([]*Catalog, error) {
	var all []*Catalog
	for _, k := range kinds {
		c := o.Catalogs[k]
		if c == nil {
			var err error
			if c, err = OwnCatalog(k); err != nil {
				return nil, err
			}
		}
		for i, other := range all {
			if err := Disjoint(other, c); err != nil {
				return nil, fmt.Errorf("catalogs of %s and %s: %w", kinds[i], k, err)
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// ruleSHA1Pin is the id of a rule for entries.
const ruleSHA1Pin = "sha1-pin"

// vetPins has something against entries that only SHA-1 identifies. The certificates
// are those of the entries, if they are known by their digests.
func (o Options) vetPins(entries []Entry, digests []string) []Finding {
	severity, advice := Error, "; add the SHA-256 digest, or pass --allow-sha1-pin"
	if o.AllowSHA1Pin {
		severity, advice = Warning, ""
	}
	var all []Finding
	for i, e := range entries {
		if !e.SHA1Only() {
			continue
		}
		f := Finding{Rule: ruleSHA1Pin, Severity: severity, Vendor: e.Vendor, Name: e.Name, Text: "is pinned by SHA-1 only" + advice, Line: e.Line}
		if digests != nil {
			f.SHA256 = digests[i]
		}
		all = append(all, f)
	}
	return all
}

// checkDistinct finds a certificate that two catalogs list under different
// hashes, which the catalogs alone do not show.
func checkDistinct(certs []Certificate) error {
	first := map[[sha256.Size]byte]Certificate{}
	for _, c := range certs {
		digest := sha256.Sum256(c.X509.Raw)
		if other, seen := first[digest]; seen {
			return fmt.Errorf("%s %q and %s %q are the same certificate", other.Vendor, other.Name, c.Vendor, c.Name)
		}
		first[digest] = c
	}
	return nil
}
