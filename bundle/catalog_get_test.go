package bundle

import (
	"crypto"
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestGet(t *testing.T) {
	ca := testCA(t, "IFX", 1)
	stranger := newSite(t, serve(ca.X509.Raw))
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/one.crt", http.StatusFound)
		case "/away":
			http.Redirect(w, r, stranger.URL+"/", http.StatusFound)
		case "/html":
			w.Write([]byte("<html>"))
		case "/no":
			w.Write([]byte{0x30, 3, 2, 1, 0})
		default:
			w.Write(pemOf(ca.X509.Raw))
		}
	})
	f := s.fetcher()
	f.RootCAs.AddCert(stranger.Certificate())
	f.Store, f.Save = newStore(t, ca), true // neither asked nor filled
	for _, c := range []struct {
		path, want string
		pins       []Fingerprint
		listed     []Entry
	}{
		{"/one.crt", "", nil, nil},
		{"/one.crt", "", []Fingerprint{FingerprintOf(crypto.SHA384, ca.X509)}, nil},
		{"/moved", "", nil, nil},
		{"/away", "a host that the catalog does not list", nil, nil},
		{"/away", "", nil, []Entry{{URL: stranger.URL + "/x"}}},
		{"/one.crt", "another certificate: its SHA-256 digest is", []Fingerprint{fingerprint(crypto.SHA256, nil)}, nil},
		{"/html", "an HTML or XML page came", nil, nil},
		{"/no", "cannot be read", nil, nil},
	} {
		got, err := f.Get(t.Context(), Entry{Vendor: "IFX", Name: "one", URL: s.URL + c.path, Fingerprints: c.pins}, c.listed...)
		if c.want == "" {
			if err != nil || !got.Equal(ca.X509) {
				t.Errorf("%s: %v", c.path, err)
			}
			continue
		}
		wantError(t, err, `IFX "one" `+s.URL+c.path, c.want)
	}
	if _, err := f.Get(t.Context(), Entry{URL: "http://pki.example/"}); !errors.Is(err, ErrUsage) {
		t.Error(err)
	}
}

// TestListed: an entry is named only if all that it pins is there.
func TestListed(t *testing.T) {
	one, two := testCA(t, "IFX", 1), testCA(t, "IFX", 2)
	half := entry(one, "https://pki.example/1")
	half.Fingerprints[1] = FingerprintOf(crypto.SHA256, two.X509)
	j := (&Fetcher{}).newJob([]Entry{half})
	if got := j.listed(one.X509.Raw); got != nil {
		t.Errorf("%v", got)
	}
	j = (&Fetcher{}).newJob([]Entry{half, entry(one, "https://pki.example/1")})
	if got := j.listed(one.X509.Raw); got == nil || got.check(one.X509.Raw) != nil {
		t.Errorf("%v", got)
	}
}

func TestParseFingerprint(t *testing.T) {
	want := fingerprint(crypto.SHA256, []byte("A"))
	text := strings.ReplaceAll(want.String(), ":", "")
	for _, s := range []string{"sha256:" + text, "sha256:" + strings.ToLower(text), "sha256:" + want.String(), "sha256:" + strings.ToLower(want.String())} {
		if got, err := ParseFingerprint(s); err != nil || got.String() != want.String() || got.Hash != crypto.SHA256 {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "sha256", "sha256:", text, "md5:" + text, "sha1:" + text, "sha256:" + text[:62], "sha256:" + text + "00", "sha256:" + strings.Replace(want.String(), ":", "", 1), "SHA256:" + text} {
		if got, err := ParseFingerprint(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestNewEntry(t *testing.T) {
	ca := testCA(t, "IFX", 1)
	e := NewEntry("IFX", "n", "https://pki.example/x", ca.X509, FingerprintOf(crypto.SHA512, ca.X509), FingerprintOf(crypto.SHA1, ca.X509))
	var hashes []crypto.Hash
	for _, f := range e.Fingerprints {
		hashes = append(hashes, f.Hash)
	}
	if len(hashes) != 3 || hashes[0] != crypto.SHA1 || hashes[1] != crypto.SHA256 || hashes[2] != crypto.SHA512 || e.check(ca.X509.Raw) != nil {
		t.Errorf("%v", hashes)
	}
	c := &Catalog{[]Entry{e}}
	if found := c.Find(FingerprintOf(crypto.SHA256, ca.X509)); len(found) != 1 {
		t.Error(found)
	}
	if found := c.Find(fingerprint(crypto.SHA384, ca.X509.Raw)); len(found) != 0 {
		t.Error(found)
	}
}
