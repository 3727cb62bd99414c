package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

// exported are certificates with all that an export could trip over: two with one
// subject, two names that differ in case, one certificate twice, odd strings.
func exported(t *testing.T) []Certificate {
	t.Helper()
	again := template(2, "IFX CA 1")
	again.NotAfter = time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	odd := template(3, "ignored")
	odd.RawSubject = oddName(t)
	certs := []Certificate{
		testCA(t, "IFX", 1),
		{"IFX", "ifx ca 1", selfSigned(t, again)},
		testCA(t, "AMD", 1),
		{"STM", "Odd CA", selfSigned(t, odd)},
	}
	return append(certs, Certificate{"IFX", "The first once more", certs[0].X509})
}

// oddName is a name with a value of each type of string, in RDNs of one and of
// several attributes that are not in DER order, with white space and capitals.
func oddName(t *testing.T) []byte {
	t.Helper()
	value := func(tag int, text string) asn1.RawValue { return asn1.RawValue{Tag: tag, Bytes: []byte(text)} }
	rdn := func(values ...asn1.RawValue) attributeSET {
		var set attributeSET
		for i, v := range values {
			set = append(set, attribute{asn1.ObjectIdentifier{2, 5, 4, 41 - i}, v})
		}
		return set
	}
	set := func(attributes attributeSET) []byte {
		var body []byte
		for _, a := range attributes {
			der, err := asn1.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			body = append(body, der...)
		}
		der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: body})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	body := slices.Concat(
		set(rdn(value(asn1.TagUTF8String, " \t Ünïcode  ÄÖÜ Straße\v\f \n"))),
		set(rdn(value(asn1.TagPrintableString, "  Printable   Name"), value(asn1.TagUTF8String, "Second Of Three"), value(asn1.TagIA5String, "a"))),
		set(rdn(value(asn1.TagT61String, "T61 \xe4\xc4 B"))),
		set(rdn(value(asn1.TagBMPString, "\x00B\x00M\x00 \x00 \x00P\x01\x00\x00\x00"))),
		set(rdn(value(asn1.TagNumericString, "12  34"))),
	)
	der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: body})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// openssl runs a command of openssl in a folder.
func openssl(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(testenv.Need(t, testenv.OpenSSL), args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %q: %v\n%s", args, err, errs.String())
	}
	return string(out)
}

func put(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantCertificates compares the certificates in PEM, whatever is around it, with
// those that were exported.
func wantCertificates(t *testing.T, what, text string, certs []Certificate) {
	t.Helper()
	got := blocks(text)
	want := blocks(string(ExportPEM(certs)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

// blocks are the PEM blocks of a text, sorted.
func blocks(text string) []string {
	var all []string
	for _, part := range strings.SplitAfter(text, "-----END CERTIFICATE-----\n") {
		if i := strings.Index(part, "-----BEGIN CERTIFICATE-----"); i >= 0 {
			all = append(all, part[i:])
		}
	}
	slices.Sort(all)
	return all
}

func TestExportPEM(t *testing.T) {
	certs := exported(t)
	out := ExportPEM(certs)
	if got := blocks(string(out)); len(got) != 4 || len(strings.Join(got, "")) != len(out) {
		t.Errorf("%d blocks, or text around them:\n%s", len(got), out)
	}
	dir := t.TempDir()
	put(t, dir, "all.pem", out)
	wantCertificates(t, "PEM", openssl(t, dir, "storeutl", "-certs", "all.pem"), certs)
}

func TestExportPKCS7(t *testing.T) {
	certs := exported(t)
	der, err := ExportPKCS7(certs)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put(t, dir, "all.p7b", der)
	wantCertificates(t, "p7b", openssl(t, dir, "pkcs7", "-inform", "DER", "-in", "all.p7b", "-print_certs"), certs)

	rand.Shuffle(len(certs), func(i, j int) { certs[i], certs[j] = certs[j], certs[i] })
	if again, err := ExportPKCS7(certs); err != nil || !bytes.Equal(der, again) {
		t.Error("the order matters", err)
	}
	_, err = ExportPKCS7(nil)
	wantError(t, err, "no certificate")
}

func TestExportPKCS12(t *testing.T) {
	certs := exported(t)
	for _, password := range []string{"changeit", ""} {
		der, err := ExportPKCS12(certs, []byte(password))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		put(t, dir, "all.p12", der)
		args := []string{"pkcs12", "-in", "all.p12", "-nokeys", "-passin", "pass:" + password}
		if password == "" {
			args = append(args, "-nomacver") // there is none
		}
		wantCertificates(t, "openssl", openssl(t, dir, args...), certs)
		again, err := ExportPKCS12(certs, []byte(password))
		if err != nil || bytes.Equal(der, again) != (password == "") {
			t.Errorf("the same bytes the second time with password %q: %v (%v)", password, password != "", err)
		}
		if keytool, err := exec.LookPath("keytool"); err == nil { // a second opinion
			out, err := exec.Command(keytool, "-list", "-rfc", "-keystore", filepath.Join(dir, "all.p12"), "-storepass", "changeit").CombinedOutput()
			if err != nil {
				t.Errorf("keytool: %v\n%s", err, out)
			}
			wantCertificates(t, "keytool", strings.ReplaceAll(string(out), "\r", ""), certs)
		}
	}
	_, err := ExportPKCS12(nil, nil)
	wantError(t, err, "no certificate")
	_, err = ExportPKCS12([]Certificate{{"IFX", "beyond BMP \U0001f600", certs[0].X509}}, nil)
	wantError(t, err, "write PKCS#12")
	_, err = ExportPKCS12(certs, []byte("pässword"))
	wantError(t, err, "printable ASCII")
}

// TestAliases: Java folds the case of aliases and keeps one of each.
func TestAliases(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range aliases(distinct(exported(t))) {
		seen[strings.ToLower(e.FriendlyName)] = true
	}
	if len(seen) != 4 || !seen["ifx ca 1"] {
		t.Errorf("aliases: %v", seen)
	}
	// Greek has two small letters for one capital, and a name may be what another
	// would become.
	a, b, c := testCA(t, "IFX", 1), testCA(t, "IFX", 2), testCA(t, "IFX", 3)
	a.Name, b.Name = "CA ΑΣ", "CA ας"
	c.Name = fmt.Sprintf("%s (IFX, sha256:%x)", b.Name, sha256.Sum256(b.X509.Raw))
	entries := aliases([]Certificate{a, c, b})
	if entries[2].FriendlyName == b.Name || entries[2].FriendlyName == entries[1].FriendlyName {
		t.Errorf("aliases that Java takes for one: %q, %q, %q", entries[0].FriendlyName, entries[1].FriendlyName, entries[2].FriendlyName)
	}
}

// TestExportHashed: openssl-rehash(1) gives the same names to the same
// certificates, and openssl finds them by these names.
func TestExportHashed(t *testing.T) {
	certs := exported(t)
	files, err := ExportHashed(certs)
	if err != nil {
		t.Fatal(err)
	}
	dir, theirs := t.TempDir(), t.TempDir()
	var names []string
	for _, f := range files {
		put(t, dir, f.Name, f.Data)
		names = append(names, f.Name)
	}
	for i, c := range distinct(certs) {
		put(t, theirs, fmt.Sprintf("%d.pem", i), pemBlock(c))
	}
	openssl(t, theirs, "rehash", ".")
	links, err := filepath.Glob(filepath.Join(theirs, "*.[0-9]"))
	if err != nil {
		t.Fatal(err)
	}
	for i, link := range links {
		links[i] = filepath.Base(link)
	}
	if diff := cmp.Diff(links, names); diff != "" {
		t.Errorf("openssl rehash has other names: %s", diff)
	}
	for i, c := range distinct(certs) {
		if i != 1 { // OpenSSL trusts but the first of the self-signed with one subject
			openssl(t, dir, "verify", "-no-CAfile", "-no-CAstore", "-CApath", ".", filepath.Join(theirs, fmt.Sprintf("%d.pem", i)))
		}
		hash := strings.TrimSpace(openssl(t, theirs, "x509", "-noout", "-subject_hash", "-in", fmt.Sprintf("%d.pem", i)))
		if got, err := subjectHash(c.X509.RawSubject); err != nil || got != hash {
			t.Errorf("%s: hash %s, openssl says %s (%v)", c.Name, got, hash, err)
		}
	}
}

func TestExportVendors(t *testing.T) {
	certs := exported(t)
	files := ExportVendors(certs)
	var names []string
	var all []byte
	for _, f := range files {
		names = append(names, f.Name)
		all = append(all, f.Data...)
	}
	if diff := cmp.Diff([]string{"AMD.pem", "IFX.pem", "STM.pem"}, names); diff != "" {
		t.Error(diff)
	}
	wantCertificates(t, "files", string(all), certs)
	if !bytes.Equal(files[1].Data, ExportPEM(certs[:2])) {
		t.Error("IFX.pem holds other certificates")
	}
}
