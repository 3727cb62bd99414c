package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/prompt"
	"github.com/sealsmith/sealsmith/internal/xdg"
	"github.com/sealsmith/sealsmith/key"
)

// catalogAddFlags are the flags of `bundle catalog add`.
type catalogAddFlags struct {
	catalog, vendor, name string
	kind                  bundle.Kind
	kindText, other       string
	texts                 []string
	fingerprints          []bundle.Fingerprint
	evidence              []string
	exceptions            []string
	notes                 string
	trustFirst            bool
}

func (a *app) catalogAdd() *cobra.Command {
	var f catalogAddFlags
	c := &cobra.Command{
		Use:   "add --catalog FILE --vendor ID [--fingerprint HASH:HEX]... URL",
		Short: "add a certificate to a catalog",
		Long: `Add downloads a CA certificate, shows it, and pins it in a catalog by SHA-1 and SHA-256,
and by each other hash that a fingerprint was given for. The catalog is left in its
normal form, with its comments, and the certificate is kept in the user's own store.

  sealsmith bundle catalog add --catalog roots.yaml --kind roots --vendor STM \
      --fingerprint sha256:FD1E7B68… https://sw-center.st.com/STSAFE/STSAFEEccRootCA02.crt

Give the fingerprints that the vendor publishes, from a data sheet or a page that is not
the download itself: whoever can exchange the one could exchange the other. All must
match. Without any, a person at the terminal is asked to compare, and elsewhere
--trust-first-download has to say that whatever the site serves today is taken for the
vendor's.

An anchor that another CA signed needs --exception not-self-signed, and --notes that say why.
What is no CA certificate, or what a bundle may not hold, is refused, and so is a URL or
certificate that the catalog has already. Name the catalog of the other kind with
--other to have it compared, too; with --kind, that is the built-in one by default.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.addToCatalog(cmd.Context(), f, args[0]) },
	}
	flags := c.Flags()
	flags.StringVar(&f.catalog, "catalog", "", "the catalog `FILE` to change")
	flags.StringVar(&f.vendor, "vendor", "", "TCG `ID` of the vendor")
	flags.StringVar(&f.name, "name", "", "`NAME` in the catalog (default the common name of the subject)")
	flags.StringVar(&f.kindText, "kind", "", "what the catalog lists: roots or intermediates")
	flags.StringVar(&f.other, "other", "", "catalog `FILE` of the other kind")
	flags.StringArrayVar(&f.texts, "fingerprint", nil, "a fingerprint that the vendor publishes, as `HASH:HEX`; may be repeated")
	flags.StringArrayVar(&f.evidence, "evidence", nil, "https `URL` of what shows that the certificate is the vendor's; may be repeated")
	flags.StringArrayVar(&f.exceptions, "exception", nil, "id of a `RULE` whose finding is known and accepted; may be repeated")
	flags.StringVar(&f.notes, "notes", "", "a `TEXT` for people")
	flags.BoolVar(&f.trustFirst, "trust-first-download", false, "pin whatever the site serves, though nothing vouches for it")
	cobra.CheckErr(c.MarkFlagRequired("catalog"))
	cobra.CheckErr(c.MarkFlagRequired("vendor"))
	return c
}

// parse checks the flags.
func (f *catalogAddFlags) parse() error {
	if _, known := bundle.VendorName(f.vendor); !known {
		return usageError(fmt.Errorf("vendor id %.80q is not in the TCG registry", f.vendor))
	}
	if f.kindText != "" {
		var err error
		if f.kind, err = bundle.ParseKind(f.kindText); err != nil {
			return usageError(err)
		}
	}
	for _, text := range f.texts {
		pin, err := bundle.ParseFingerprint(text)
		if err != nil {
			return usageError(err)
		}
		if slices.ContainsFunc(f.fingerprints, func(other bundle.Fingerprint) bool { return other.Hash == pin.Hash }) {
			return usageError(fmt.Errorf("two %v fingerprints", pin.Hash))
		}
		f.fingerprints = append(f.fingerprints, pin)
	}
	for _, link := range f.evidence {
		if err := bundle.CheckEvidence(link); err != nil {
			return usageError(err)
		}
	}
	for _, id := range f.exceptions {
		if err := bundle.CheckException(id); err != nil {
			return usageError(err)
		}
	}
	return nil
}

// compare refuses a certificate that the vendor did not publish.
func (f *catalogAddFlags) compare(cert *x509.Certificate) error {
	for _, pin := range f.fingerprints {
		if !pin.Matches(cert.Raw) {
			return hint.Wrap(fmt.Errorf("%w: the %v digest is not the published %v", errFaulty, pin.Hash, pin),
				"the site serves another certificate than the vendor's document names; ask the vendor")
		}
	}
	return nil
}

// otherCatalog is the catalog of the other kind; nil if none is known.
func (f *catalogAddFlags) otherCatalog() (*bundle.Catalog, error) {
	switch {
	case f.other != "":
		_, c, err := readCatalog(f.other)
		return c, err
	case f.kind == bundle.Roots:
		return bundle.OwnCatalog(bundle.Intermediates)
	case f.kind == bundle.Intermediates:
		return bundle.OwnCatalog(bundle.Roots)
	}
	return &bundle.Catalog{}, nil
}

func (a *app) addToCatalog(ctx context.Context, f catalogAddFlags, url string) error {
	if err := f.parse(); err != nil {
		return err
	}
	data, list, err := readCatalog(f.catalog)
	if err != nil {
		return err
	}
	other, err := f.otherCatalog()
	if err != nil {
		return err
	}
	wanted := bundle.Entry{Vendor: f.vendor, Name: f.name, URL: url}
	if err := conflict(f, list, other, wanted); err != nil { // before anything is downloaded
		return err
	}
	cert, err := new(bundle.Fetcher).Get(ctx, wanted, append(slices.Clone(list.Entries), other.Entries...)...)
	if err != nil {
		return err
	}
	name := cmp.Or(f.name, cert.Subject.CommonName)
	e := bundle.NewEntry(f.vendor, name, url, cert, f.fingerprints...)
	e.Evidence, e.Exceptions, e.Notes = f.evidence, f.exceptions, f.notes
	if err := a.showNew(ctx, e, cert, list, other); err != nil {
		return err
	}
	if err := errors.Join(f.compare(cert), conflict(f, list, other, e), a.vetNew(f, e, cert)); err != nil {
		return err
	}
	changed, err := bundle.InsertEntry(data, e)
	if err != nil {
		return fmt.Errorf("%s: %w", f.catalog, err)
	}
	if err := a.trustNew(ctx, f, e); err != nil {
		return err
	}
	if now, err := readFile(f.catalog, limits.BundleCatalog); err != nil || !bytes.Equal(now, data) {
		return errors.Join(hint.Wrap(fmt.Errorf("%s has changed meanwhile", f.catalog), "run the command again"), err)
	}
	if err := keepCertificate(cert); err != nil {
		return err
	}
	if err := writeOutput(f.catalog, changed); err != nil {
		return err
	}
	a.say("added %s %q to %s", e.Vendor, e.Name, f.catalog)
	return nil
}

// conflict refuses what one of the catalogs has already.
func conflict(f catalogAddFlags, list, other *bundle.Catalog, e bundle.Entry) error {
	if text := list.Conflict(e); text != "" {
		return fmt.Errorf("%w: %s: %s", errFaulty, f.catalog, text)
	}
	e.Name = "" // may be in both
	if text := other.Conflict(e); text != "" {
		return fmt.Errorf("%w: the catalog of the other kind: %s", errFaulty, text)
	}
	return nil
}

// showNew prints the certificate.
func (a *app) showNew(ctx context.Context, e bundle.Entry, cert *x509.Certificate, catalogs ...*bundle.Catalog) error {
	about, err := bundle.Summarise(cert)
	if err != nil {
		return err
	}
	issuers, err := knownIssuers(ctx, e, cert, catalogs)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	row := func(label, value string) { fmt.Fprintf(w, "%s\t%s\n", label, printable(value)) }
	row("vendor", e.Vendor)
	row("name", e.Name)
	row("url", e.URL)
	row("subject", about.Subject)
	row("issuer", about.Issuer)
	row("issued by", issuers)
	row("serial", about.Serial)
	row("valid", about.NotBefore.Format(time.DateOnly)+" to "+about.NotAfter.Format(time.DateOnly))
	row("key", about.Key)
	row("signature", cert.SignatureAlgorithm.String())
	row("CA", yesNo(cert.BasicConstraintsValid && cert.IsCA))
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		row(h.String(), bundle.FingerprintOf(h, cert).String())
	}
	return w.Flush()
}

// knownIssuers looks for the issuer among the certificates of the catalogs that the
// user's store has.
func knownIssuers(ctx context.Context, e bundle.Entry, cert *x509.Certificate, catalogs []*bundle.Catalog) (string, error) {
	certs := []bundle.Certificate{{Vendor: e.Vendor, Name: e.Name, X509: cert}}
	if store, err := bundle.OpenStore(xdg.Certs()); err == nil {
		defer store.Close()
		for _, c := range catalogs {
			sources, err := (&bundle.Fetcher{Store: store, Offline: true}).Fill(ctx, c.Entries)
			if err != nil {
				return "", err
			}
			for _, s := range sources {
				if s.Pinned != nil {
					certs = append(certs, bundle.Certificate{Vendor: s.Entry.Vendor, Name: s.Entry.Name, X509: s.Pinned})
				}
			}
		}
	}
	graph, err := bundle.NewGraph(certs)
	if err != nil {
		return "", err
	}
	if graph.SelfSigned(0) {
		return "itself", nil
	}
	var names []string
	for _, l := range graph.Issuers(0) {
		names = append(names, fmt.Sprintf("%s %q", certs[l.Issuer].Vendor, certs[l.Issuer].Name))
	}
	if len(names) == 0 {
		return "no certificate of the catalogs that is in the store", nil
	}
	return strings.Join(names, ", "), nil
}

// vetNew refuses what no bundle may hold and warns of the rest.
func (a *app) vetNew(f catalogAddFlags, e bundle.Entry, cert *x509.Certificate) error {
	selfIssued := string(cert.RawSubject) == string(cert.RawIssuer)
	declared := slices.Contains(e.Exceptions, "not-self-signed")
	if f.kind == bundle.Roots && !selfIssued && !declared || f.kind == bundle.Intermediates && selfIssued {
		a.notice(fmt.Sprintf("unusual for a list of %s: subject and issuer are%s the same", f.kind, map[bool]string{false: " not"}[selfIssued]))
	}
	var wrong []string
	for _, finding := range bundle.Vet([]bundle.Certificate{{Vendor: e.Vendor, Name: e.Name, X509: cert}}, time.Now()) {
		switch {
		case finding.Severity == bundle.Error:
			wrong = append(wrong, finding.Text)
		case !slices.Contains(e.Exceptions, finding.Rule):
			a.notice(finding.String())
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: no bundle may hold this certificate: it %s", errFaulty, strings.Join(wrong, "; it "))
	}
	return nil
}

// trustNew wants a reason to believe that the certificate is the vendor's.
func (a *app) trustNew(ctx context.Context, f catalogAddFlags, e bundle.Entry) error {
	terminal := a.terminal()
	switch {
	case len(f.fingerprints) == 1 && f.fingerprints[0].Hash == crypto.SHA1:
		a.notice("compared by SHA-1 only, for which two certificates with one digest can be made")
		return nil
	case len(f.fingerprints) > 0:
		return nil
	case f.trustFirst:
		a.notice("nothing vouches for this certificate but the site that served it")
		return nil
	case terminal == nil:
		return hint.Wrap(fmt.Errorf("%w: nothing says that this certificate is the vendor's", errFaulty),
			"find its fingerprint in a document of the vendor and give it: --fingerprint sha256:HEX",
			"--trust-first-download pins whatever the site serves")
	}
	facts := []prompt.Line{{Label: "Name", Value: e.Name}}
	for _, pin := range e.Fingerprints {
		facts = append(facts, prompt.Line{Label: pin.Hash.String(), Value: pin.String()})
	}
	err := terminal.Confirm(ctx, prompt.Prompt{
		Title: fmt.Sprintf("Does a document of %s name one of these fingerprints?", e.Vendor),
		Facts: facts,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", key.ErrDenied, err)
	}
	return nil
}

// keepCertificate puts a certificate into the user's own store.
func keepCertificate(cert *x509.Certificate) error {
	if err := os.MkdirAll(xdg.Certs(), 0o700); err != nil {
		return err
	}
	store, err := bundle.OpenStore(xdg.Certs())
	if err != nil {
		return err
	}
	return errors.Join(store.Add(cert.Raw), store.Close())
}
