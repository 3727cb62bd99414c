package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/limits"
)

// TestRefresh: a vendor that re-issues in place, one that serves as before, and two
// that serve nothing. The pinned certificates stay, new bytes are kept apart.
func TestRefresh(t *testing.T) {
	var certs []Certificate
	for n := range 5 {
		certs = append(certs, testCA(t, "IFX", int64(n)+1))
	}
	again := template(99, "ifx  ca 2") // the same name, as RFC 5280 compares
	again.NotBefore = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
	reissued := selfSigned(t, again).Raw
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/1", "/5":
			w.Write(certs[r.URL.Path[1]-'1'].X509.Raw)
		case "/2":
			w.Write(reissued)
		case "/3":
			http.NotFound(w, r)
		case "/4":
			w.Write([]byte("0\x03\x02\x01\x00"))
		}
	})
	var entries []Entry
	for n, c := range certs {
		entries = append(entries, entry(c, fmt.Sprintf("%s/%d", s.URL, n+1)))
	}
	f := s.fetcher()
	f.Store, f.Save = newStore(t, certs[:3]...), true
	sources, err := f.Refresh(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		state         SourceState
		pinned, other bool
		reason        string
	}{
		{SourceServed, true, false, ""},
		{SourceChanged, true, true, "same subject and key, re-issued with validity 2026-04-01 to 9999-12-31"},
		{SourceFailed, true, false, "status 404 Not Found"},
		{SourceChanged, false, false, "no certificate can be read from it"},
		{SourceServed, true, false, ""},
	} {
		got := sources[i]
		if got.Entry.URL != entries[i].URL || got.State != want.state || (got.Pinned != nil) != want.pinned || (got.Other != nil) != want.other {
			t.Errorf("source %d is %+v", i, got)
		}
		if want.reason != "" {
			wantError(t, got.Err, want.reason)
		} else if got.Err != nil {
			t.Errorf("source %d: %v", i, got.Err)
		}
	}
	wantError(t, Missing(sources), "1 of 5 certificates", `"IFX CA 4"`)
	if has(f.Store, reissued) || !has(f.Store, certs[1].X509.Raw) || !has(f.Store, certs[4].X509.Raw) {
		t.Error("the store has what it should not have, or has not what it should")
	}
	kept, err := os.ReadDir(filepath.Join(f.Store.dir, unpinned))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	if bytes, err := os.ReadFile(filepath.Join(f.Store.dir, unpinned, kept[0].Name())); err != nil || string(bytes) != string(reissued) {
		t.Errorf("kept %x, %v", bytes, err)
	}

	if path := f.Store.Unpinned(sources[1].Other); filepath.Base(path) != kept[0].Name() || f.Store.Unpinned(certs[0].X509) != "" {
		t.Errorf("kept in %s", path)
	}

	// Nothing is written unless it was asked for, and there is an end to it.
	f.Store, f.Save = newStore(t, certs[:3]...), false
	if _, err := f.Refresh(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(f.Store.dir, unpinned)); !errors.Is(err, fs.ErrNotExist) || has(f.Store, certs[4].X509.Raw) {
		t.Errorf("written without being asked: %v", err)
	}
	f.Save = true
	if err := os.Mkdir(filepath.Join(f.Store.dir, unpinned), 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range limits.BundleUnpinned {
		if err := os.WriteFile(filepath.Join(f.Store.dir, unpinned, fmt.Sprint(n)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sources, err = f.Refresh(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, sources[1].Err, "same subject and key", "not kept: ", "holds 1000 files or more")
	f.Offline = true
	_, err = f.Refresh(t.Context(), entries)
	wantError(t, err, "without the network")
}

// TestFillMendsTheStore: a damaged file is fetched again where the store is ours to
// write, and an error where it is not.
func TestFillMendsTheStore(t *testing.T) {
	cert := testCA(t, "IFX", 1)
	s := newSite(t, serve(cert.X509.Raw))
	f := s.fetcher()
	f.Store = newStore(t, cert)
	entries := []Entry{entry(cert, s.URL)}
	files, err := filepath.Glob(filepath.Join(f.Store.dir, "*.crt"))
	if err != nil || len(files) != 1 || os.WriteFile(files[0], []byte("x"), 0o600) != nil {
		t.Fatal(files, err)
	}
	_, err = f.Fetch(t.Context(), entries)
	wantError(t, err, "holds other bytes")
	f.Save, f.Offline = true, true
	_, err = f.Fetch(t.Context(), entries)
	wantError(t, err, "holds other bytes")
	f.Offline = false
	if _, err := f.Fetch(t.Context(), entries); err != nil || !has(f.Store, cert.X509.Raw) || s.requests.Load() != 1 {
		t.Errorf("%v, %d requests", err, s.requests.Load())
	}
	// A store that takes nothing is one error, not one for each certificate.
	other := testCA(t, "IFX", 2)
	s = newSite(t, serve(other.X509.Raw))
	f.RootCAs = s.fetcher().RootCAs
	if err := os.RemoveAll(f.Store.dir); err != nil {
		t.Fatal(err)
	}
	_, err = f.Fetch(t.Context(), []Entry{entry(other, s.URL)})
	if _, isList := errors.AsType[*FetchError](err); isList || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestDeadHost: a site that takes connections and never answers costs its time once,
// not once for each of its certificates, and hides no other site.
func TestDeadHost(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	cert := testCA(t, "IFX", 1)
	s := newSite(t, then(silent, serve(cert.X509.Raw)))
	f := s.fetcher()
	f.pace.stall = 300 * time.Millisecond
	var entries []Entry
	for n := range 20 * limits.BundleWorkersPerHost {
		entries = append(entries, entry(testCA(t, "STM", 2), fmt.Sprintf("https://%s/%d", mute.Addr(), n)))
	}
	entries = append(entries, entry(cert, s.URL))
	start := time.Now()
	_, err = f.Fetch(t.Context(), entries)
	if took := time.Since(start); took > 20*limits.BundleTimeouts*f.pace.stall/2 {
		t.Errorf("took %v", took)
	}
	wantError(t, err, "320 of 321 certificates", fmt.Sprintf("\n  320 at %s:\n", mute.Addr()), "/0: no answer in time", "/319: no answer in time")
}

// TestHostThatAnswers: one that is slow now and then is asked for all.
func TestHostThatAnswers(t *testing.T) {
	cert := testCA(t, "IFX", 1)
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			silent(w, r)
		}
		w.Write(cert.X509.Raw)
	})
	f := s.fetcher()
	f.pace.stall = 300 * time.Millisecond
	slow := testCA(t, "IFX", 2)
	entries := []Entry{entry(cert, s.URL+"/1"), entry(slow, s.URL+"/slow")}
	for n := range 3 * limits.BundleWorkersPerHost {
		entries = append(entries, entry(cert, fmt.Sprintf("%s/%d", s.URL, n+2)))
	}
	_, err := f.Fetch(t.Context(), entries)
	wantError(t, err, "1 of 50 certificates", "/slow: no answer in time")
}

// TestGiveUp: which failure of one request says that the host is not there.
func TestGiveUp(t *testing.T) {
	for _, c := range []struct {
		limit   int
		answers bool
		err     error
		gone    bool
	}{
		{1, false, errors.New("connection refused"), true},
		{1, false, errTimeout, true},
		{16, false, errTimeout, true}, // it takes connections, that is all
		{16, false, errors.New("reset"), false},
		{16, true, errTimeout, false},
		{16, true, errors.New("status 404"), false},
		{16, false, nil, false},
		{1, false, nil, false},
	} {
		j := (&Fetcher{}).newJob([]Entry{{URL: "https://a.example/1"}, {URL: "https://a.example/2"}})
		h := &host{queue: []int{0, 1}, limit: c.limit, answers: c.answers}
		j.giveUp(h, c.err)
		if gone := len(h.queue) == 0; gone != c.gone || gone != (j.done == 2) {
			t.Errorf("%+v: given up: %v, %d done", c, gone, j.done)
		}
	}
}

// TestFetchWithoutNetwork: where no site can be found, one line says so, and what
// needs no network.
func TestFetchWithoutNetwork(t *testing.T) {
	noWay := &noWayError{hint.Wrap(errors.New("lookup a.example: no such host"), "offline")}
	failures := func(urls ...string) (list []*Failure) {
		for _, url := range urls {
			list = append(list, &Failure{Entry{Vendor: "IFX", Name: "a", URL: url}, noWay})
		}
		return list
	}
	for _, c := range []struct {
		err   *FetchError
		lines int
	}{
		{&FetchError{2, failures("https://a.example/1", "https://b.example/1")}, 1},
		{&FetchError{2, failures("https://a.example/1", "https://a.example/2")}, 4},
		{&FetchError{3, failures("https://a.example/1", "https://b.example/1")}, 5},
	} {
		if got := strings.Split(c.err.Error(), "\n"); len(got) != c.lines || len(hint.Of(c.err)) != 1 {
			t.Errorf("got %q with hints %q", got, hint.Of(c.err))
		}
	}
	one := failures("https://a.example/1")
	one[0].Err = errors.New("status 404")
	wantError(t, &FetchError{2, append(one, failures("https://b.example/1")...)}, "\n  1 at a.example:\n", "\n  1 at b.example:\n")
}

// TestFetchThroughNobody: a proxy that is not there is asked once.
func TestFetchThroughNobody(t *testing.T) {
	err := judge(&net.OpError{Op: "proxyconnect", Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}})
	if _, ok := errors.AsType[*backoff.PermanentError](err); !ok {
		t.Errorf("got %v", err)
	}
}

// TestFetchRaw: what no HTTP server sends.
func TestFetchRaw(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"garbage":      {"220 mail.example ESMTP\r\n", "tls: first record does not look like a TLS handshake"},
		"plain HTTP":   {"HTTP/1.1 200 OK\r\n\r\n", "HTTP response to HTTPS client"},
		"closed again": {"", "no answer: EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					conn.Read(make([]byte, 16<<10)) // the greeting, so that nothing is reset
					conn.Write([]byte(c.answer))
					conn.Close()
				}
			}()
			f := &Fetcher{pace: pace{backoff: time.Millisecond}}
			_, err = f.Fetch(t.Context(), []Entry{entry(testCA(t, "IFX", 1), "https://"+l.Addr().String())})
			wantError(t, err, c.want)
		})
	}
}
