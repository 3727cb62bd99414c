package bundle

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// workshop has a store with a few certificates, and catalogs of them.
func workshop(t *testing.T) (Options, []Certificate) {
	t.Helper()
	var certs []Certificate
	var entries []Entry
	var issuer *ownKeyCA
	for n := range int64(6) {
		ca := newOwnKeyCA(t, n+1, issuer, nil)
		ca.Vendor = []string{"STM", "IFX"}[n%2]
		ca.Name = fmt.Sprintf("%s CA %d", ca.Vendor, n+1)
		certs = append(certs, ca.Certificate)
		if n == 1 {
			issuer = ca
		}
		entries = append(entries, entry(certs[n], fmt.Sprintf("https://pki.example/%d", n)))
	}
	return Options{
		Date:     testDate,
		Commit:   testCommit,
		Fetcher:  &Fetcher{Store: newStore(t, certs...), Offline: true},
		Catalogs: map[Kind]*Catalog{Roots: {entries[:2]}, Intermediates: {entries[2:]}},
	}, certs
}

func TestRelease(t *testing.T) {
	o, certs := workshop(t)
	shuffled := o
	shuffled.Catalogs = map[Kind]*Catalog{}
	for k, c := range o.Catalogs {
		entries := slices.Clone(c.Entries)
		slices.Reverse(entries)
		shuffled.Catalogs[k] = &Catalog{Entries: entries}
	}
	for _, f := range []Format{"", Sealsmith, TPMTB} {
		o.Format = f
		out, err := Release(t.Context(), o)
		if err != nil || len(out.Findings) != 0 {
			t.Fatal(err, out.Findings)
		}
		shuffled.Format = f
		if again, err := Release(t.Context(), shuffled); err != nil || !cmp.Equal(again.Files, out.Files) {
			t.Errorf("the order of the catalogs matters (%v)", err)
		}
		if len(out.Files) != 4 || out.Files[2].Name != IndexName || out.Files[3].Name != SumsName {
			t.Fatalf("%d files", len(out.Files))
		}
		sums, err := ParseSums(out.Files[3].Data, Roots.FileName(), Intermediates.FileName(), IndexName)
		if err != nil {
			t.Fatal(err)
		}
		parts := map[Kind][]Certificate{Roots: certs[:2], Intermediates: certs[2:]}
		for i, k := range Kinds() {
			h := o.header(k)
			if f == "" {
				h.Format = Sealsmith
			}
			if want := mustBuild(t, parts[k], h).Encode(); out.Files[i].Name != k.FileName() || !bytes.Equal(out.Files[i].Data, want) {
				t.Errorf("%s is\n%s\nwant\n%s", out.Files[i].Name, out.Files[i].Data, want)
			}
			if err := sums.Check(k.FileName(), out.Files[i].Data); err != nil {
				t.Error(err)
			}
			single, err := Single(t.Context(), k, o)
			if err != nil || !cmp.Equal(single.Files, out.Files[i:i+1]) {
				t.Errorf("%s alone differs (%v)", k, err)
			}
		}
	}
}

func TestReleaseRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(o *Options, entries []Entry)
		want   string
	}{
		{"date", func(o *Options, _ []Entry) { o.Date = "" }, `date "" is not YYYY-MM-DD`},
		{"format", func(o *Options, _ []Entry) { o.Format = "x" }, `format "x"`},
		{"missing from the store", func(_ *Options, e []Entry) { e[1].Fingerprints[1] = fingerprint(crypto.SHA256, nil) }, "1 of 6 certificates cannot be had"},
		{"empty catalog", func(o *Options, _ []Entry) { o.Catalogs[Roots] = &Catalog{} }, "build roots: a bundle needs at least one certificate"},
		{"in both catalogs", func(o *Options, e []Entry) { o.Catalogs[Roots] = &Catalog{e[:3]} },
			`catalogs of roots and intermediates: STM certificate "STM CA 3" and STM certificate "STM CA 3" have the same url`},
		{"SHA-1 only", func(_ *Options, e []Entry) { e[0].Fingerprints = e[0].Fingerprints[:1] },
			`error: STM "STM CA 1": is pinned by SHA-1 only; add the SHA-256 digest, or pass --allow-sha1-pin [sha1-pin]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, certs := workshop(t)
			var entries []Entry
			for n, cert := range certs {
				entries = append(entries, entry(cert, fmt.Sprintf("https://pki.example/%d", n)))
			}
			o.Catalogs = map[Kind]*Catalog{Roots: {entries[:2]}, Intermediates: {entries[2:]}}
			c.change(&o, entries)
			_, err := Release(t.Context(), o)
			wantError(t, err, c.want)
		})
	}
	o, _ := workshop(t)
	_, err := Single(t.Context(), "leaves", o)
	wantError(t, err, `kind "leaves"`)
}

// TestReleaseFindsHiddenDuplicates: the catalogs pin different hashes of one
// certificate.
func TestReleaseFindsHiddenDuplicates(t *testing.T) {
	cert := testCA(t, "IFX", 1)
	s := newSite(t, serve(cert.X509.Raw))
	list := func(name string, h crypto.Hash) *Catalog {
		return &Catalog{[]Entry{{Vendor: "IFX", Name: name, URL: s.URL + "/" + h.String(), Fingerprints: []Fingerprint{fingerprint(h, cert.X509.Raw)}}}}
	}
	o := Options{Date: testDate, Fetcher: s.fetcher(), Catalogs: map[Kind]*Catalog{
		Roots: list("root", crypto.SHA256), Intermediates: list("intermediate", crypto.SHA512),
	}}
	_, err := Release(t.Context(), o)
	wantError(t, err, `IFX "root" and IFX "intermediate" are the same certificate`)
}

func TestAllowSHA1Pin(t *testing.T) {
	cert := testCA(t, "IFX", 1)
	s := newSite(t, serve(cert.X509.Raw))
	e := entry(cert, s.URL)
	e.Fingerprints = e.Fingerprints[:1]
	o := Options{Date: testDate, Fetcher: s.fetcher(), Catalogs: map[Kind]*Catalog{Roots: {[]Entry{e}}}, AllowSHA1Pin: true}
	out, err := Single(t.Context(), Roots, o)
	if err != nil || len(out.Findings) != 1 || out.Findings[0].Rule != "sha1-pin" || out.Findings[0].Severity != Warning {
		t.Errorf("got %v, %v", out, err)
	}
}

func TestReleaseStopsWithItsContext(t *testing.T) {
	o, _ := workshop(t)
	o.Fetcher = &Fetcher{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Release(ctx, o); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestWrite(t *testing.T) {
	o, _ := workshop(t)
	out, err := Release(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, SumsName), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := out.Write(dir); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 4 {
			t.Fatalf("folder holds %v, %v", entries, err)
		}
		for _, f := range out.Files {
			path := filepath.Join(dir, f.Name)
			if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, f.Data) {
				t.Errorf("%s: %v", f.Name, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o644 {
				t.Errorf("%s: mode %v, %v", f.Name, info.Mode(), err)
			}
		}
	}
}

// TestFailedWriteLeavesTheOldRelease: nothing takes its name before all files
// could be written, and no temporary file stays.
func TestFailedWriteLeavesTheOldRelease(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "a.pem")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &Output{Files: []File{{"a.pem", []byte("new")}, {"no/folder", nil}}}
	wantError(t, out.Write(dir), "write release")
	entries, err := os.ReadDir(dir)
	if data, readErr := os.ReadFile(old); err != nil || readErr != nil || len(entries) != 1 || string(data) != "old" {
		t.Errorf("folder holds %v, the file %q", entries, data)
	}
	wantError(t, out.Write(filepath.Join(dir, "none")), "write release")
}

func TestParseKindAndFormat(t *testing.T) {
	for _, k := range Kinds() {
		if got, err := ParseKind(string(k)); got != k || err != nil {
			t.Errorf("%s: %v, %v", k, got, err)
		}
	}
	for _, f := range []Format{Sealsmith, TPMTB} {
		if got, err := ParseFormat(string(f)); got != f || err != nil {
			t.Errorf("%s: %v, %v", f, got, err)
		}
	}
	_, err := ParseKind("Roots\x1b")
	wantError(t, err, `kind "Roots\x1b" is neither "roots" nor "intermediates"`)
	_, err = ParseFormat("")
	wantError(t, err, `format "" is neither "sealsmith" nor "tpmtb"`)
}

// TestHistoricEntries are left out, unless asked for, and marked in the index.
func TestHistoricEntries(t *testing.T) {
	o, certs := workshop(t)
	o.Catalogs[Roots].Entries[0].Status = Historic
	o.Catalogs[Intermediates].Entries[3].Status = Historic
	without := Options{Date: o.Date, Commit: o.Commit, Fetcher: o.Fetcher, Catalogs: map[Kind]*Catalog{
		Roots: {o.Catalogs[Roots].Entries[1:]}, Intermediates: {o.Catalogs[Intermediates].Entries[:3]},
	}}
	want, err := Release(t.Context(), without)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Release(t.Context(), o)
	if err != nil || got.LeftOut != 2 || want.LeftOut != 0 || !cmp.Equal(got.Files, want.Files) {
		t.Errorf("%v, %d left out", err, got.LeftOut)
	}
	o.IncludeHistoric = true
	all, err := Release(t.Context(), o)
	if err != nil || all.LeftOut != 0 {
		t.Fatal(err)
	}
	for _, c := range []Certificate{certs[0], certs[5]} {
		if i := bytes.Index(all.Files[2].Data, []byte(digestText(c.X509))); i < 0 || !bytes.Contains(all.Files[2].Data[i:i+1000], []byte(`"status": "historic"`)) {
			t.Errorf("%s is not marked", c.Name)
		}
	}
	// What is left out still must not be in the other catalog.
	o.IncludeHistoric = false
	o.Catalogs[Intermediates].Entries[0].URL = o.Catalogs[Roots].Entries[0].URL
	_, err = Release(t.Context(), o)
	wantError(t, err, "have the same url")
	o, _ = workshop(t)
	for i := range o.Catalogs[Roots].Entries {
		o.Catalogs[Roots].Entries[i].Status = Historic
	}
	_, err = Release(t.Context(), o)
	wantError(t, err, "the catalog of roots has historic entries only")
}
