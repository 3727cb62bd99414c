// Package realtest builds the bundles of a published release from the vendors'
// real certificates, which are not part of this project. It is selected with
//
//	go test ./bundle/realtest -args -certs=DIR
//
// where DIR is a certificate store (files named <sha256>.crt). Without the flag
// it says so and tests nothing.
//
// # Trust
//
// For tests only.
package realtest

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/bundle"
)

var certStore = flag.String("certs", "", "folder of <sha256>.crt")

func TestMain(m *testing.M) {
	flag.Parse()
	if *certStore == "" {
		fmt.Println("not selected: no -certs=DIR")
		return
	}
	dir, err := filepath.Abs(*certStore)
	if err != nil {
		panic(err)
	}
	*certStore = dir // tests change the working folder
	os.Exit(m.Run())
}

// The release of 2026-04-11 of github.com/loicsikidi/tpm-ca-certificates.
var published = map[bundle.Kind]string{
	bundle.Roots:         "04c257f3f6ea77dd060c8a93120ae5c2dce770a7870ab31cc876ea49825e0175",
	bundle.Intermediates: "90866af8cc13755a72fc78d37e184b4ad3fafc2c43e14250dbd95c30e2eef745",
}

const (
	publishedDate   = "2026-04-11"
	publishedCommit = "7e245bcd7c6a19e92df9656f00a796765e875808"
)

// options builds that release offline.
func options(t *testing.T) bundle.Options {
	t.Helper()
	store, err := bundle.OpenStore(*certStore)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return bundle.Options{
		Format:  bundle.TPMTB,
		Date:    publishedDate,
		Commit:  publishedCommit,
		Fetcher: &bundle.Fetcher{Store: store, Offline: true},
	}
}

func build(t *testing.T, o bundle.Options) *bundle.Output {
	t.Helper()
	out, err := bundle.Release(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func digests(out *bundle.Output) map[string]string {
	all := map[string]string{}
	for _, f := range out.Files {
		all[f.Name] = fmt.Sprintf("%x", sha256.Sum256(f.Data))
	}
	return all
}

func TestPublishedRelease(t *testing.T) {
	for _, folder := range []string{t.TempDir(), "/"} {
		t.Chdir(folder)
		all := digests(build(t, options(t)))
		for k, want := range published {
			if got := all[k.FileName()]; got != want {
				t.Errorf("in %s: %s has the digest %s, want %s", folder, k, got, want)
			}
		}
	}
}

// TestFindings: what the vendors did, and nothing that forbids a bundle.
func TestFindings(t *testing.T) {
	got := map[string]int{}
	for _, f := range build(t, options(t)).Findings {
		got[string(f.Severity)+" "+f.Rule]++
	}
	want := map[string]int{
		// Those of which our catalogs declare that they are exceptions:
		"info not-self-signed": 3,
		"info name-mismatch":   4,
		"info reused-serial":   4,
		"info reused-key":      4,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestIndex: it is the same in both formats but for the files, it is read back, and
// the parents of every intermediate lead to a root.
func TestIndex(t *testing.T) {
	var certificates [][]bundle.IndexCertificate
	var contents []string
	for _, format := range []bundle.Format{bundle.TPMTB, bundle.Sealsmith} {
		o := options(t)
		o.Format = format
		out := build(t, o)
		var bundles []*bundle.Bundle
		for _, f := range out.Files[:2] {
			b, err := bundle.Parse(f.Data)
			if err != nil {
				t.Fatal(err)
			}
			bundles = append(bundles, b)
		}
		x, err := bundle.ParseIndex(out.Files[2].Data, bundles...)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.CheckParents(bundles...); err != nil {
			t.Error(err)
		}
		certificates = append(certificates, x.Certificates)
		contents = append(contents, x.ContentSHA256)
	}
	if diff := cmp.Diff(certificates[0], certificates[1]); diff != "" || contents[0] != contents[1] {
		t.Errorf("by format: %v %s", contents, diff)
	}
	by := map[string]bundle.IndexCertificate{}
	for _, c := range certificates[0] {
		by[c.SHA256] = c
	}
	var chained func(c bundle.IndexCertificate, depth int) bool
	chained = func(c bundle.IndexCertificate, depth int) bool {
		return c.Kind == bundle.Roots || depth < 5 && slices.ContainsFunc(c.Parents, func(p string) bool { return chained(by[p], depth+1) })
	}
	n := 0
	for _, c := range certificates[0] {
		if c.URL == "" {
			t.Errorf("%s %q has no URL", c.Vendor, c.Name)
		}
		if c.Kind == bundle.Intermediates && chained(c, 0) {
			n++
		}
	}
	if n != 143 {
		t.Errorf("%d of 143 intermediates chain", n)
	}
}

func TestOrderOfTheCatalogDoesNotMatter(t *testing.T) {
	for _, format := range []bundle.Format{bundle.TPMTB, bundle.Sealsmith} {
		o := options(t)
		o.Format = format
		want := digests(build(t, o))
		o.Catalogs = map[bundle.Kind]*bundle.Catalog{}
		for _, k := range bundle.Kinds() {
			c, err := bundle.OwnCatalog(k)
			if err != nil {
				t.Fatal(err)
			}
			rand.Shuffle(len(c.Entries), func(i, j int) { c.Entries[i], c.Entries[j] = c.Entries[j], c.Entries[i] })
			o.Catalogs[k] = c
		}
		if diff := cmp.Diff(want, digests(build(t, o))); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
}

func TestBothFormatsAreReadBack(t *testing.T) {
	for _, format := range []bundle.Format{bundle.TPMTB, bundle.Sealsmith} {
		o := options(t)
		o.Format = format
		out := build(t, o)
		for i, n := range []int{26, 143} {
			b, err := bundle.Parse(out.Files[i].Data)
			if err != nil {
				t.Fatalf("%s: %v", format, err)
			}
			if !bytes.Equal(b.Encode(), out.Files[i].Data) || len(b.Certificates()) != n {
				t.Errorf("%s: %s: %d certificates, or other bytes", format, out.Files[i].Name, len(b.Certificates()))
			}
		}
	}
}

// TestChains: each of the vendors' CAs chains to a published root. No EK
// certificate is at hand, so the CA's stands for one: it is changed where it says
// what it is for, not where it was signed.
func TestChains(t *testing.T) {
	out := build(t, options(t))
	anchors, err := bundle.ParseAnchors(out.Files[0].Data, out.Files[1].Data)
	if err != nil {
		t.Fatal(err)
	}
	plainRoots, plainOthers := x509.NewCertPool(), x509.NewCertPool()
	plainRoots.AppendCertsFromPEM(out.Files[0].Data)
	plainOthers.AppendCertsFromPEM(out.Files[1].Data)
	intermediates, err := bundle.Parse(out.Files[1].Data)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 4, 11, 0, 0, 0, 0, time.UTC)
	lengths, plain := map[int]int{}, 0
	for _, ca := range intermediates.Certificates() {
		if _, err := ca.X509.Verify(x509.VerifyOptions{
			Roots: plainRoots, Intermediates: plainOthers, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		}); err == nil {
			plain++
		}
		leaf := *ca.X509
		leaf.IsCA, leaf.KeyUsage = false, x509.KeyUsageKeyAgreement
		leaf.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}
		found, err := anchors.VerifyEK(&leaf, nil, at)
		if err != nil {
			t.Errorf("%s %q: %v", ca.Vendor, ca.Name, err)
			continue
		}
		lengths[len(found.Certificates)]++
	}
	if diff := cmp.Diff(map[int]int{2: 137, 3: 6}, lengths); diff != "" {
		t.Errorf("chains by length: %s", diff)
	}
	// The others have an issuer whose name is encoded in another way.
	if plain != 139 {
		t.Errorf("crypto/x509 alone finds the chains of %d, of 139 before", plain)
	}
}
