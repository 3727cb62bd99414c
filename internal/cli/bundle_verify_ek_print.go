package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sealsmith/sealsmith/bundle"
)

// verifiedEKsJSON is what --json prints; docs/spec/ek.md describes it.
type verifiedEKsJSON struct {
	At           time.Time        `json:"at"`
	CABundle     string           `json:"ca_bundle"` // digests of its files
	CRLs         bool             `json:"crls"`      // some were given
	Certificates []verifiedEKJSON `json:"certificates"`
	Accepted     int              `json:"accepted"`
	Refused      int              `json:"refused"`
}

// verifiedEKJSON is the --json form of an EK certificate that was judged.
type verifiedEKJSON struct {
	File        string           `json:"file"`             // or the NV index
	Number      int              `json:"number,omitempty"` // among several of the file, from 1
	Accepted    bool             `json:"accepted"`
	Reason      bundle.EKReason  `json:"reason"`         // ok, or why not
	Text        string           `json:"text,omitempty"` // of a refusal
	Certificate *bundle.Summary  `json:"certificate,omitempty"`
	IssuerURLs  []string         `json:"issuer_urls,omitempty"` // where it says that its issuer's is
	CRLURLs     []string         `json:"crl_urls,omitempty"`
	TPM         *tpmSaidJSON     `json:"tpm,omitempty"` // as the certificate says
	Chain       []bundle.Summary `json:"chain"`         // from its issuer to the root
	Revocation  []revocationJSON `json:"revocation"`    // of itself and of the chain but the root
	Findings    []ekFindingJSON  `json:"findings"`
}

type tpmSaidJSON struct {
	Manufacturer string `json:"manufacturer"`
	Vendor       string `json:"vendor,omitempty"`
	Model        string `json:"model"`
	Firmware     string `json:"firmware"`
}

type revocationJSON struct {
	SHA256 string                  `json:"sha256"`
	Status bundle.RevocationStatus `json:"status"`
	Text   string                  `json:"text,omitempty"`
}

type ekFindingJSON struct {
	ID   string `json:"id"`
	Text string `json:"text"`
}

func newVerifiedEKJSON(source string, number int, r *bundle.EKReport) verifiedEKJSON {
	j := verifiedEKJSON{
		File: source, Number: number, Accepted: r.Refused == nil, Reason: bundle.Accepted,
		IssuerURLs: r.IssuerURLs, CRLURLs: r.CRLURLs, Chain: []bundle.Summary{}, Revocation: []revocationJSON{}, Findings: []ekFindingJSON{},
	}
	if r.Refused != nil {
		j.Reason, j.Text = r.Refused.Reason, r.Refused.Text
	}
	if r.Certificate != nil {
		if s, err := bundle.Summarise(r.Certificate); err == nil {
			j.Certificate = &s
		}
	}
	if r.Chain != nil {
		if r.Chain.Manufacturer != "" {
			j.TPM = &tpmSaidJSON{r.Chain.Manufacturer, r.Chain.Vendor, r.Chain.Model, r.Chain.Version}
		}
		for _, c := range r.Chain.Certificates[min(1, len(r.Chain.Certificates)):] {
			s, _ := bundle.Summarise(c) // the names of a chain can be read
			j.Chain = append(j.Chain, s)
		}
	}
	for _, one := range r.Revocation {
		s, _ := bundle.Summarise(one.Certificate)
		j.Revocation = append(j.Revocation, revocationJSON{s.SHA256, one.Status, one.Text})
	}
	for _, f := range r.Findings {
		j.Findings = append(j.Findings, ekFindingJSON{f.ID, f.Text})
	}
	return j
}

// name is where the certificate came from.
func (j verifiedEKJSON) name() string {
	if j.Number > 0 {
		return fmt.Sprintf("%s (certificate %d)", j.File, j.Number)
	}
	return j.File
}

// verdict is the answer in a word or two.
func (j verifiedEKJSON) verdict() string {
	if j.Accepted {
		return "ok"
	}
	return fmt.Sprintf("refused: %s", j.Reason)
}

// maker is what the certificate says of the TPM, in a few words.
func (j verifiedEKJSON) maker() string {
	switch {
	case j.TPM == nil:
		return "a TPM that it does not describe"
	case j.TPM.Vendor == "":
		return j.TPM.Manufacturer + " " + j.TPM.Model
	}
	return j.TPM.Vendor + " " + j.TPM.Model
}

// printEKLine prints one certificate of several.
func (a *app) printEKLine(j verifiedEKJSON) {
	line := fmt.Sprintf("%s: %s", j.name(), j.verdict())
	if j.Accepted {
		line += fmt.Sprintf(": %s, under %s", j.maker(), j.Chain[len(j.Chain)-1].Subject)
	} else {
		line += ": " + j.Text
	}
	for _, f := range j.Findings {
		line += " [" + f.ID + "]"
	}
	fmt.Fprintln(a.Out, printable(line))
}

// printEKSummary ends the lines of several certificates.
func (a *app) printEKSummary(v *ekVerifier, good int) {
	fmt.Fprintf(a.Out, "verified %s: %d ok, %d refused\n", plural(v.count, "EK certificate"), good, len(v.refused))
	fmt.Fprintf(a.Out, "CA bundle: %s\n", v.anchors.Digest())
	switch {
	case v.crls == nil:
		fmt.Fprintln(a.Out, "not checked: revocation, for no list was given")
	case v.unlisted > 0:
		fmt.Fprintf(a.Out, "not checked: revocation of %s, or of CAs above; --verbose says why\n", plural(v.unlisted, "EK certificate"))
	}
}

// printEKReport prints all that was found out about one certificate.
func (a *app) printEKReport(j verifiedEKJSON, anchors *bundle.Anchors) {
	fmt.Fprintln(a.Out, printable(j.name()+": "+j.verdict()))
	w := tabwriter.NewWriter(a.Out, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %s\t%s\n", name, printable(value))
		}
	}
	if !j.Accepted {
		row("because", j.Text)
	}
	for digest := range strings.SplitSeq(anchors.Digest(), ", ") {
		row("CA bundle", digest)
	}
	if !j.Accepted && j.Certificate != nil {
		for _, u := range j.IssuerURLs {
			row("issuer at", u)
		}
		row("not verified", "what it says of itself:")
	}
	if t := j.TPM; t != nil {
		vendor, _ := bundle.VendorName(t.Vendor)
		row("manufacturer", strings.TrimSpace(t.Manufacturer+" "+vendor))
		row("model", t.Model)
		row("firmware", t.Firmware)
	}
	if c := j.Certificate; c != nil {
		row("subject", c.Subject)
		row("key", c.Key)
		row("valid", c.NotBefore.Format(time.DateOnly)+" to "+c.NotAfter.Format(time.DateOnly))
		row("SHA-256", c.SHA256)
	}
	for i, c := range j.Chain {
		name := "issued by"
		if i == len(j.Chain)-1 {
			name = "root"
		}
		row(name, c.Subject)
	}
	for _, f := range j.Findings {
		row("finding", fmt.Sprintf("%s [%s]", f.Text, f.ID))
	}
	for i, r := range j.Revocation {
		switch r.Status {
		case bundle.NotRevoked:
			row("not revoked", j.certified(i))
		case bundle.IsRevoked:
			row("revoked", fmt.Sprintf("%s: %s", j.certified(i), r.Text))
		default:
			row("not checked", fmt.Sprintf("revocation of %s: %s", j.certified(i), r.Text))
		}
	}
	for _, u := range j.CRLURLs {
		row("list at", u)
	}
	w.Flush() // a.Out remembers its error
}

// certified names a certificate of the chain, the EK's first.
func (j verifiedEKJSON) certified(i int) string {
	if i == 0 {
		return "the EK certificate"
	}
	return j.Chain[i-1].Subject
}
