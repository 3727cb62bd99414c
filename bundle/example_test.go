package bundle_test

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log"

	"github.com/sealsmith/sealsmith/bundle"
)

// Loading the bundles of a release. Who made them, Parse does not say: verify the
// release first, by package verify or `sealsmith bundle verify`.
func Example() {
	release := newSample() // such as os.ReadFile("tpm-ca-certificates.pem")
	roots, err := bundle.Parse(release.roots)
	if err != nil {
		log.Fatal(err)
	}
	intermediates, err := bundle.Parse(release.intermediates)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range bundle.Members(roots, intermediates) {
		fmt.Println(m.Kind, m.Vendor, m.Name)
	}
	// Output:
	// roots IFX Example Root CA
	// roots STM Other Root CA
	// intermediates IFX Example EK CA 01
}

// Verifying an EK certificate as a TPM holds it. Parse the CA certificates once:
// Anchors serve any number of goroutines.
func ExampleAnchors_VerifyEK() {
	release := newSample()
	anchors, err := bundle.ParseAnchors(release.roots, release.intermediates)
	if err != nil {
		log.Fatal(err)
	}
	file, err := bundle.ParseEKFile(release.ek)
	if err != nil {
		log.Fatal(err)
	}
	chain, err := anchors.VerifyEK(file.EKs[0], file.Helpers, release.made)
	if refused, ok := errors.AsType[*bundle.EKError](err); ok {
		log.Fatalf("%s: %s", refused.Reason, refused.Text)
	}
	fmt.Println(chain.Vendor, chain.Model)
	for _, c := range chain.Certificates[1:] {
		fmt.Println(c.Subject)
	}
	// Output:
	// IFX SLB 9672
	// CN=Example EK CA 01
	// CN=Example Root CA
}

// What a report says that is no reason to refuse.
func ExampleAnchors_ReportEK() {
	release := newSample()
	anchors, err := bundle.ParseAnchors(release.roots, release.intermediates)
	if err != nil {
		log.Fatal(err)
	}
	file, err := bundle.ParseEKFile(release.ek)
	if err != nil {
		log.Fatal(err)
	}
	report := anchors.ReportEK(file.EKs[0], bundle.EKOptions{At: release.made}) // without CRLs
	fmt.Println("refused:", report.Refused != nil)
	fmt.Println("findings:", len(report.Findings))
	for _, r := range report.Revocation {
		fmt.Printf("%s: %s\n", r.Status, r.Text)
	}
	// Output:
	// refused: false
	// findings: 0
	// not-checked: no revocation list of its issuer was given
	// not-checked: no revocation list of its issuer was given
}

// Trusting some vendors only. The certificates that theirs chain to are kept.
func ExampleOfVendors() {
	release := newSample()
	all := bundle.Members(must(bundle.Parse(release.roots)), must(bundle.Parse(release.intermediates)))
	some, err := bundle.OfVendors(all, "STM")
	if err != nil {
		log.Fatal(err)
	}
	anchors, err := bundle.NewAnchors(some)
	if err != nil {
		log.Fatal(err)
	}
	file := must(bundle.ParseEKFile(release.ek))
	_, err = anchors.VerifyEK(file.EKs[0], file.Helpers, release.made)
	if refused, ok := errors.AsType[*bundle.EKError](err); ok {
		fmt.Println(refused.Reason)
	}
	// Output:
	// issuer-missing
}

// Pools for crypto/x509, where Anchors do not fit: which CAs it finds a chain for.
func ExamplePools() {
	release := newSample()
	all := bundle.Members(must(bundle.Parse(release.roots)), must(bundle.Parse(release.intermediates)))
	roots, intermediates := bundle.Pools(all)
	for _, m := range all {
		chains, err := m.X509.Verify(x509.VerifyOptions{
			Roots: roots, Intermediates: intermediates, CurrentTime: release.made,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		fmt.Println(m.Name, len(chains), err)
	}
	// Output:
	// Example Root CA 1 <nil>
	// Other Root CA 1 <nil>
	// Example EK CA 01 1 <nil>
}

// Finding the issuer of a certificate, and one certificate by its digest.
func ExampleFind() {
	release := newSample()
	all := bundle.Members(must(bundle.Parse(release.roots)), must(bundle.Parse(release.intermediates)))
	ek := must(bundle.ParseEKFile(release.ek)).EKs[0]
	for _, m := range bundle.Find(all, bundle.ByKeyID(ek.AuthorityKeyId)) {
		fmt.Println("by key identifier:", m.Name)
	}
	for _, m := range bundle.Find(all, bundle.BySubject(ek.RawIssuer)) {
		fmt.Println("by subject:", m.Name)
		digest := sha256.Sum256(m.X509.Raw)
		fmt.Println("by digest:", len(bundle.Find(all, bundle.BySHA256(digest))))
	}
	fmt.Println("holds the EK certificate:", bundle.Contains(all, ek))
	// Output:
	// by key identifier: Example EK CA 01
	// by subject: Example EK CA 01
	// by digest: 1
	// holds the EK certificate: false
}
