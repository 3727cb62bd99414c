package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCatalogAdd: what a site serves gets into a catalog only for a reason.
func TestCatalogAdd(t *testing.T) {
	w := newWorld(t)
	v := newVendor(t, w, 4)
	w.run("sealsmith", "bundle", "catalog", "remove", "--catalog", "roots.yaml", "--vendor", "IBM", "--name", "CA 03")
	before, err := os.ReadFile(w.path("roots.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	before = []byte(strings.Replace(string(before), "---\n", "---\n# kept\n", 1))
	w.write("roots.yaml", string(before))
	digest := fmt.Sprintf("%x", sha256.Sum256(v.certs[3]))
	url := v.URL + "/3"
	add := func(more ...string) []string {
		return append([]string{"sealsmith", "bundle", "catalog", "add", "--catalog", "roots.yaml", "--vendor", "IBM"}, more...)
	}
	other := strings.NewReplacer("CA 00", "other", v.URL+"/0", v.URL+"/3").Replace(strings.Split(string(before), "        - name: \"CA 01\"")[0])
	w.write("other.yaml", other)

	leaf := &x509.Certificate{SerialNumber: big.NewInt(9), Subject: pkix.Name{CommonName: "leaf"}, NotAfter: time.Now().Add(time.Hour)}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, leaf, v.key.Public(), v.key)
	if err != nil {
		t.Fatal(err)
	}
	v.does(10, sends(leafDER))
	v.does(11, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example/x", http.StatusFound)
	})
	v.does(12, sends(v.certs[0]))
	zeros := "sha256:" + strings.Repeat("00", 32)
	for _, c := range []struct {
		status int
		says   string
		args   []string
	}{
		{3, "hint: find its fingerprint in a document of the vendor", add(url)},
		{3, "the SHA-256 digest is not the published 00:00:", add(url, "--fingerprint", zeros)},
		{3, "the SHA-512 digest is not the published 00:00:", add(url, "--fingerprint", "sha256:"+digest, "--fingerprint", "sha512:"+strings.Repeat("00", 64))},
		{3, `IBM certificate "CA 00" in line 8 has the same url`, add(v.URL+"/0", "--trust-first-download")},
		{3, `IBM certificate "CA 00" in line 8 has the same SHA-256 fingerprint`, add(v.URL+"/12", "--name", "new", "--trust-first-download")},
		{3, `IBM certificate "CA 01" is already in line`, add(url, "--name", "CA 01", "--trust-first-download")},
		{3, `the catalog of the other kind: IBM certificate "other" in line 8 has the same url`, add(url, "--other", "other.yaml", "--fingerprint", "sha256:"+digest)},
		{3, "is not a CA certificate", add(v.URL+"/10", "--trust-first-download")},
		{1, "five dashes, as in a line of PEM", add(url, "--name", "-----BEGIN", "--trust-first-download")},
		{1, "a host that the catalog does not list", add(v.URL+"/11", "--trust-first-download")},
		{2, "is not https", add("http://ca.example/x", "--trust-first-download")},
		{2, `vendor id "EVIL" is not in the TCG registry`, []string{"sealsmith", "bundle", "catalog", "add", "--catalog", "roots.yaml", "--vendor", "EVIL", url}},
		{2, "has no hash", add(url, "--fingerprint", digest)},
		{2, "two SHA-256 fingerprints", add(url, "--fingerprint", zeros, "--fingerprint", zeros)},
		{2, `kind "leaves"`, add(url, "--kind", "leaves")},
		{2, `evidence: "http://x.example/" is not https`, add(url, "--fingerprint", "sha256:"+digest, "--evidence", "http://x.example/")},
		{1, "none.yaml", []string{"sealsmith", "bundle", "catalog", "add", "--catalog", "none.yaml", "--vendor", "IBM", url}},
	} {
		w.fails(c.status, c.says, c.args...)
		if now, err := os.ReadFile(w.path("roots.yaml")); err != nil || string(now) != string(before) {
			t.Fatalf("%q changed the catalog: %v\n%s", c.args, err, now)
		}
	}
	if left, _ := filepath.Glob(w.path("data/sealsmith/certs/*")); len(left) != 0 {
		t.Errorf("the store holds %v", left)
	}

	// All fingerprints match.
	args := add(url, "--kind", "roots", "--fingerprint", "sha256:"+digest, "--fingerprint", fmt.Sprintf("sha384:%X", sha512.Sum384(v.certs[3])),
		"--evidence", "https://ca.example/list.pdf", "--exception", "reused-serial", "--notes", "from the data sheet")
	shown := w.run(args[0], args[1:]...)
	for _, want := range []string{"subject    CN=CA 03\n", "issued by  itself\n", "CA         yes\n", "key        P-256\n", "SHA-512    "} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in\n%s", want, shown)
		}
	}
	after, err := os.ReadFile(w.path("roots.yaml"))
	if err != nil || !strings.HasPrefix(string(after), string(before)) {
		t.Fatalf("%v\n%s", err, after)
	}
	for _, want := range []string{"- name: \"CA 03\"\n", "url: \"" + url + "\"\n", "evidence:\n            - \"https://ca.example/list.pdf\"\n",
		"exceptions:\n            - \"reused-serial\"\n", "notes: \"from the data sheet\"\n", "sha1: ", "sha256: ", "sha384: "} {
		if !strings.Contains(strings.TrimPrefix(string(after), string(before)), want) {
			t.Errorf("%q is not in\n%s", want, after)
		}
	}
	if _, err := os.Stat(w.path("data/sealsmith/certs/" + digest + ".crt")); err != nil {
		t.Error(err)
	}
	w.run("sealsmith", "bundle", "catalog", "format", "--check", "roots.yaml")
	w.run("sealsmith", "bundle", "catalog", "remove", "--catalog", "roots.yaml", "--fingerprint", "sha256:"+digest)

	// Without fingerprint: a person is asked, or has to say that nobody is.
	s := newScreen(t)
	wait := w.sealsmith(s, add(url)[1:]...)
	s.answer("Does a document of IBM name one of these fingerprints?", "no")
	if err := wait(); err == nil {
		t.Error("added against a no")
	}
	if now, _ := os.ReadFile(w.path("roots.yaml")); string(now) != string(before) {
		t.Errorf("changed:\n%s", now)
	}
	// Somebody else changes the catalog meanwhile.
	changed := strings.Replace(string(before), "# kept", "# changed", 1)
	v.does(3, func(answer http.ResponseWriter, _ *http.Request) {
		os.WriteFile(w.path("roots.yaml"), []byte(changed), 0o644)
		answer.Write(v.certs[3])
	})
	w.fails(1, "roots.yaml has changed meanwhile", add(url, "--trust-first-download")...)
	if now, _ := os.ReadFile(w.path("roots.yaml")); string(now) != changed {
		t.Errorf("a change was lost:\n%s", now)
	}
	v.does(3, nil)
	w.write("roots.yaml", string(before))
	wait = w.sealsmith(s, add(url)[1:]...)
	s.answer("Does a document of IBM name one of these fingerprints?", "yes")
	if err := wait(); err != nil {
		t.Errorf("%v: %s", err, s.unread())
	}
	w.run("sealsmith", "bundle", "catalog", "remove", "--catalog", "roots.yaml", "--vendor", "IBM", "--name", "CA 03")
	args = add(url, "--trust-first-download")
	w.run(args[0], args[1:]...)
	if out := w.run("sealsmith", "bundle", "catalog", "list", "roots.yaml"); strings.Count(out, "\n") != 5 {
		t.Errorf("listed:\n%s", out)
	}
}
