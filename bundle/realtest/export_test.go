package realtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealsmith/sealsmith/bundle"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// members are all certificates of the release.
func members(t *testing.T) []bundle.Member {
	t.Helper()
	var all []*bundle.Bundle
	for _, f := range build(t, options(t)).Files[:2] {
		b, err := bundle.Parse(f.Data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return bundle.Members(all...)
}

func certificates(t *testing.T) []bundle.Certificate {
	t.Helper()
	var certs []bundle.Certificate
	for _, m := range members(t) {
		certs = append(certs, m.Certificate)
	}
	return certs
}

// digestSet are the digests of certificates in PEM, whatever is around it.
func digestSet(t *testing.T, text []byte) []string {
	t.Helper()
	var all []string
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			slices.Sort(all)
			return all
		}
		all = append(all, fmt.Sprintf("%x", sha256.Sum256(block.Bytes)))
		text = rest
	}
}

// openssl runs a command of openssl in a folder.
func openssl(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(testenv.Need(t, testenv.OpenSSL), args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %q: %v\n%s", args, err, errs.String())
	}
	return out
}

func put(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestExports: openssl reads the same 169 certificates from each export.
func TestExports(t *testing.T) {
	certs := certificates(t)
	want := digestSet(t, bundle.ExportPEM(certs))
	if len(want) != 169 {
		t.Fatalf("%d certificates", len(want))
	}
	dir := t.TempDir()
	p7b, err := bundle.ExportPKCS7(certs)
	if err != nil {
		t.Fatal(err)
	}
	p12, err := bundle.ExportPKCS12(certs, []byte("changeit"))
	if err != nil {
		t.Fatal(err)
	}
	var vendors []byte
	for _, f := range bundle.ExportVendors(certs) {
		vendors = append(vendors, f.Data...)
	}
	put(t, dir, "all.pem", bundle.ExportPEM(certs))
	put(t, dir, "all.p7b", p7b)
	put(t, dir, "all.p12", p12)
	put(t, dir, "vendors.pem", vendors)
	for what, out := range map[string][]byte{
		"pem":     openssl(t, dir, "storeutl", "-certs", "all.pem"),
		"p7b":     openssl(t, dir, "pkcs7", "-inform", "DER", "-in", "all.p7b", "-print_certs"),
		"pkcs12":  openssl(t, dir, "pkcs12", "-in", "all.p12", "-nokeys", "-passin", "pass:changeit"),
		"vendors": openssl(t, dir, "storeutl", "-certs", "vendors.pem"),
	} {
		if diff := cmp.Diff(want, digestSet(t, out)); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
}

// TestHashedNames: openssl rehash gives the vendors' certificates the same names,
// and with them openssl finds the chain of each intermediate.
func TestHashedNames(t *testing.T) {
	all := members(t)
	files, err := bundle.ExportHashed(certificates(t))
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := t.TempDir(), t.TempDir()
	var names []string // sorted
	for _, f := range files {
		put(t, ours, f.Name, f.Data)
		names = append(names, f.Name)
	}
	var intermediates []string
	for i, m := range all {
		name := fmt.Sprintf("%d.pem", i)
		put(t, theirs, name, bundle.ExportPEM([]bundle.Certificate{m.Certificate}))
		if m.Kind == bundle.Intermediates {
			intermediates = append(intermediates, filepath.Join(theirs, name))
		}
	}
	openssl(t, theirs, "rehash", ".")
	links, err := filepath.Glob(filepath.Join(theirs, "????????.*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, link := range links {
		links[i] = filepath.Base(link)
	}
	if diff := cmp.Diff(links, names); diff != "" {
		t.Errorf("openssl rehash has other names: %s", diff)
	}
	out := openssl(t, ours, append([]string{"verify", "-no-CAfile", "-no-CAstore", "-CApath", ".", "-partial_chain"}, intermediates...)...)
	if n := strings.Count(string(out), ": OK\n"); n != 143 {
		t.Errorf("%d of 143 intermediates chain:\n%s", n, out)
	}
}

// TestDiffOfFormats: a release holds the same certificates in both formats.
func TestDiffOfFormats(t *testing.T) {
	o := options(t)
	o.Format = bundle.Sealsmith
	var other []*bundle.Bundle
	for _, f := range build(t, o).Files[:2] {
		b, err := bundle.Parse(f.Data)
		if err != nil {
			t.Fatal(err)
		}
		other = append(other, b)
	}
	changes, err := bundle.Diff(members(t), bundle.Members(other...))
	if err != nil || len(changes) > 0 {
		t.Errorf("%d changes (%v)", len(changes), err)
	}
	changes, err = bundle.Diff(members(t)[1:], bundle.Members(other[0]))
	counts := map[bundle.ChangeType]int{}
	for _, c := range changes {
		counts[c.Type]++
	}
	want := map[bundle.ChangeType]int{bundle.Added: 1, bundle.Removed: 143}
	if diff := cmp.Diff(want, counts); diff != "" || err != nil {
		t.Errorf("%s (%v)", diff, err)
	}
}
